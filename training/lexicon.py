"""Stems, by idea and language, that the threat classifier's hints are made of. Written by hand for this project.

A stem matches every word that begins with it; "=word" matches that word only. All are lower case without accents
(`quorate.models.local.features.normalise`). Chinese, Japanese and Korean stems match anywhere in a run.
"""

IDEAS: dict[str, str] = {
    "override": """
        ignor disregard forget overrid bypass neglect discard overlook unlearn circumvent =drop nullif void
        =dismiss supersed countermand =skip overwrite olvid omit descart desobede anula oubli =oublie
        contourn outrepass vergiss vergess missacht ubergeh umgeh uberspring dimentic scorda aggira trascura
        esquec esquece desconsider burl negeer negere vergeet omzeil zignor zapomn pomin obejd игнорир забуд
        проигнор обойди ігнор yoksay unut gormezden abaikan lupakan quen glem ignorer glom bortse sivuuta
        unohda 忽略 无视 無視 忘记 忘掉 忘れ 절다 무시 잊어 bỏ تجاهل انس تخط अनदेखा भूल नजरअंदाज התעלם שכח
        αγνο
    """,
    "prior": """
        previous prior =above earlier preced former foregoing =before initial original =existing =past
        anterior previ precedent =ci-dessus vorherig bisherig vorangeg =obig fruher =sopra vorige eerdere
        voorgaand poprzedni wczesniej предыдущ прежн ранее попередн onceki sebelumnya =truoc tidigare
        tidligere aiemm 之前 以前 前面 先前 以上 上述 前の 이전 위의 السابق पिछल पहले הקודמ προηγουμεν
    """,
    "rules": """
        instruct rule guideline directive =prompt =prompts polic restrict constraint programm =orders
        =commands protocol safeguard guardrail limitation instrucc reglas norma directric restricc
        indicacion consigne =regles instruction anweisung regeln vorgaben richtlinie anordnung beschrankung
        istruzion regole direttiv instruco diretriz regras restric aanwijzing instructie regels instrukcj
        zasad polecen wytyczn инструкц правил указан ограничен інструкц talimat kural yonerge instruksi
        aturan perintah huong instruks regler ohje saanno 指令 指示 规则 規則 提示词 限制 命令 ルール 지시
        규칙 명령 تعليمات قواعد أوامر निर्देश नियम הוראות כללים οδηγιες κανονες
    """,
    "every": """
        =all =any =every everything =whole entire complete =full todas todo toutes tous tout alle alles
        samtlich tutte tutti tutto wszystk все всё всех усі tum butun semua =tat moi alla kaikki 所有 全部
        一切 すべて 全て 모든 모두 جميع كل सभी סכל כל ολες
    """,
    "reveal": """
        reveal disclos =show =print repeat =output =display leak expos =dump recit divulg unveil echo =list
        spell =summarize =paraphrase =tell =share =give transcrib =paste muestra mostra revel repit repet
        imprim =dime ensena affich montre divulgu zeig verrat wiederhol ausgeb =gib mostr rivela ripeti
        stampa =dimmi toon onthul herhaal pokaz ujawni powtorz wypisz покаж раскро повтор выведи покажи
        goster acikla tekrarla yazdir tampilkan ungkap tunjukkan visa avsloja vis nayta paljasta 显示 透露
        告诉 输出 重复 泄露 展示 打印 見せ 表示 教え 明か 出力 보여 알려 출력 공개 اكشف أظهر اعرض كرر दिखा
        बता प्रकट חשוף הצג αποκαλυψ
    """,
    "system": """
        =system hidden internal =secretly confidential underlying backend behind initializ sistema =systeme
        systemprompt systemaufforderung systemowy системн скрыт внутрен sistem =he systeem 系统 系統 内部
        隐藏 システム 시스템 내부 النظام सिस्टम המערכת συστηματος
    """,
    "prompt": """
        =prompt =prompts systemprompt preprompt metaprompt =promt =promts aufforderung промпт подсказк 提示
        プロンプト 프롬프트 invite istem موجه प्रॉम्प्ट
    """,
    "secret": """
        secret password passphrase credential =token =tokens =apikey =key =keys contrasen =clave segreto
        parola geheim passwort motdepasse hasl пароль секрет sifre =sandi 密码 密碼 秘密 パスワード 비밀번호
        비밀 كلمة سر पासवर्ड
    """,
    "pretend": """
        pretend roleplay rolep =act =acting imagin simulat impersonat persona =character =play embody =role
        =become actua =finge imagina =jouez =fais comporte spiel =stell agisci fingi =aja finja udawaj
        wyobraz притвор представ веди davran berpura bayangkan 扮演 假装 假设 想象 ふり 演じ 척해 역할 تظاهر
        تصرف नाटक अभिनय
    """,
    "unbound": """
        unrestrict uncensor unfilter jailbr limitless unlimit amoral unethical =dan =stan =dude =aim unbound
        unhing unshackl liberat =evil freed =anything unmoderat unconstrain =sinrestricciones libre
        uneingeschrankt ungefiltert 不受限制 无限制 越狱 無制限 脱獄 탈옥 무제한
    """,
    "now": """
        =now henceforth =onwards =onward =instead =new =updated following hereafter subsequent =ahora =desde
        nueva nuevo maintenant desormais nouvelle =nun =jetzt =ab neue =ora nuove =adesso =agora nova =nu
        nieuwe =teraz nowe теперь новые отныне simdi =artik yeni sekarang baru 现在 从现在 新的 今から
        これから 新しい 지금 이제 새로운 الآن الجديد अब नए מעכשיו
    """,
    "you": """
        =you =your =yours =yourself =u =ur =tu =tus =vous =votre =vos =dein =deine =deiner =du =ihre =sie
        =suoi =tuoi =tue =seu =suas =jouw =je =twoj =twoje ты твои ваши =sen senin =kamu =anda =ban 你 您
        あなた 당신 너의
    """,
    "ai": """
        =ai chatbot assistant =bot =gpt chatgpt =llm =model =models openai claude gemini llama =agent
        =assistent asistente =ia =ki искусственн asisten 助手 人工智能 模型 アシスタント 인공지능
    """,
    "mode": """
        =mode developer =debug =admin administrator =root =sudo maintenance =superuser =modo =modus режим
        разработ =mod 模式 开发者 管理员 モード 開発者 모드 개발자 وضع المطور
    """,
    "safety": """
        safety filter ethic moral censor moderation =openai's refus apolog warn disclaim comply =seguridad
        filtro securite sicherheit filtre безопас фильтр guvenlik 安全 过滤 道德 フィルタ 안전 필터 الأمان
    """,
    "not": """
        =no =not =without =never =don't =dont =cannot =can't =nor =stop =free =sin =sans =ohne =nicht =senza
        =sem =non =zonder =bez =не =без =tanpa 不要 没有 ない 없이 بدون
    """,
    "execute": """
        execut =run =eval =exec =sudo =bash =shell =os =subprocess =popen =import =rm =curl =wget =script
        =cmd powershell whoami =cat =etc passwd
    """,
    "marker": """
        =system_prompt =im_start =im_end im =inst =endoftext =sys begin_of assistant_ =override =eot_id
    """,
    "say": """
        =say =says =respond =answer =reply =write =begin =start =end =responde =reponds =antworte =sag
        =rispondi =responda ответь скажи напиши =jawab 回答 回复 说 答えて 대답 أجب
    """,
    "encode": """
        base64 =rot13 decod encod cipher =hex =backwards =reverse =morse =caesar decrypt =ascii unicode
    """,
    "fiction": """
        hypothetic fiction =story =novel =scene =game =research educational =purposes grandm deceased =movie
        hipotet fiktiv
    """,
    "send": """
        =send =email =forward =upload =post =http =https =www =url =link =webhook exfil =attach =fetch
    """,
    "exact": """
        verbatim =exact =exactly =word =letter =top =first =sentence =paragraph =beginning =code =block
        =format =wortlich textual =literal =parola дослов
    """,
    "harm": """
        bomb malware hack illegal weapon drug exploit meth explosive virus ransomware phish steal =kill
        =murder poison napalm
    """,
    "authority": """
        =openai =ceo =creator =creators =owner =authorized =authorised =authorization =permission =priority
        =urgent =emergency =employee =engineer =auditor =tester =inspection
    """,
    "order": """
        =order =orders =delivery =refund =account =card =invoice =parcel =package =shipping =return =returns
        =payment =booking =flight =hotel =subscription =purchase =item =warranty =receipt =address
    """,
}


def stems() -> dict[str, int]:
    """Every stem with the number of its idea."""
    table: dict[str, int] = {}
    for number, line in enumerate(IDEAS.values()):
        for stem in line.split():
            table.setdefault(stem, number)
    return table

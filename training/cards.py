"""Writes the model cards: the same words each time, and the figures of this training run."""

from collections.abc import Mapping

from training import card_moderation

_COMMAND = "python -m training --data ../shared/data --out src/quorate/weights --cards docs/cards"

_THREAT = """# Model card: threat

`quorate.models.local.LocalThreat` scores one window of one reading of a text: how likely is it an attempt to take
over the model (injection, jailbreak, prompt extraction, obfuscated or indirect instructions)? It needs no key and no
network, and is meant as the first, cheapest of several checks: it finds the crude and the common, never all.

**How it works.** Two halves read each window of 320 characters, and their log-odds are added. One is a logistic
regression over which words, pairs of neighbours and pairs a word or two apart occur (hashed; a feature counts if three
sources or families of texts have it), and over hints: stems of about 25 ideas ("ignore", "rules", "reveal") in about
twenty languages, and their ordered pairs. The other is a small transformer over static word vectors (`vectors.md`;
three layers of 128 numbers), which reads each word beside all others. It learned, without any label, what
all-MiniLM-L6-v2 says of some 130,000 windows, pieces of them and support questions, and was then left as it is; three
small networks learned the labels from what it reads (mean and highest over the words), and their mean counts. A text
counts as bad as the worst window of its readings (`quorate.checks.readings`); one longer than a window is read line by
line as well, and a text of many windows must be worse. Of a text with more than 64 different windows the linear half
reads every one, and the transformer the 64 that it finds worst; then whole sentences around the five worst places are
read again. So a long text costs little more than its linear half; a window in which only the transformer sees an attack
is missed there. Run time is numpy only. A text in another language that is not
flagged is abstained from ("language not covered: Polish"; decision 0008).

**Chosen by leaving sources out.** Seven times a source of attacks, its honest texts and further honest sources are left
out of training together; the seventh time it is all that was written in a second batch, apart from the first. How much
each half counts, slope and offset of the probability, and the threshold (0.15 % false alarms, each source of honest
texts the same mass, texts of our own together one, role prompts for chatbots none) are fitted on what these seven say
of texts from sources that they never saw. Then log-odds are scaled and bent at two places to be probabilities on the
development rows, the threshold with them: even what was left out of training is nearer to it than what comes from
elsewhere. No text changes places with another by that; the curve's form was chosen on the same rows. The share of 0.15
% was chosen in view of NotInject's development rows (below), and the penalty for many windows in view of long texts
made of moderation's; so these two figures flatter somewhat. Development rows chose nothing else.

**Data.** neuralchemy prompt injections (MIT), in-the-wild jailbreaks (MIT), BIPIA train (MIT, documents
CC-BY-SA-4.0), prompts.chat role prompts (CC0), BANKING77 (CC-BY-4.0), CLINC150 (CC-BY-3.0), Bitext (CDLA-Sharing-1.0);
as honest texts without their labels Davidson (MIT), Vicomtech (CC-BY-SA-3.0-ES), Surge (MIT); and texts written for
this project (`training/own`, `training/templates.py`, `training/honest.py`). Dev, whose sources are in none of these:
CyberSecEval 3 (MIT), NotInject (MIT), XSTest (CC-BY-4.0), HWU64 (CC-BY-4.0). No row is shipped, only numbers. The
encoder: all-MiniLM-L6-v2 (Apache-2.0).
"""

_THREAT_WEAK = """**Ways that were tried**, judged by leaving sources out (mean AUC and recall at 1 % false alarms).

| way | AUC | recall |
|---|---|---|
| first corpus, seven sources in turn: words, pairs and character n-grams, logistic regression | 0.848 | 0.271 |
| the same, features of three sources or more | 0.846 | 0.281 |
| the same, of five or more | 0.843 | 0.265 |
| of three or more, stronger penalty | 0.854 | 0.285 |
| of three or more, every source the same mass | 0.851 | 0.269 |
| of three or more, not scaled by length | 0.846 | 0.275 |
| of three or more, no character n-grams | 0.853 | 0.268 |
| larger corpus, four turns (one without any text of our own): no character n-grams, stronger penalty | 0.877 | 0.277 |
| the same with character n-grams | 0.877 | 0.277 |
| convolutions over word vectors | 0.888 | 0.296 |
| both, added | 0.894 | 0.324 |
| both, with more dropout | 0.891 | 0.325 |
| both, two networks | 0.892 | 0.324 |
| all texts of our own, without AILuminate (below), six turns: words and pairs | 0.874 | 0.301 |
| the same: convolutions | 0.853 | 0.263 |
| the same: both, weighed on what was left out | 0.877 | 0.306 |

With the second batch of our own texts (11,898), the mean of the three public sources, words and pairs alone unless
said:

| way | AUC | recall |
|---|---|---|
| first batch alone | 0.913 | 0.414 |
| the same, with 300 clusters of word vectors and their pairs | 0.907 | 0.383 |
| with half of the second batch | 0.915 | 0.401 |
| the same, penalty a third (shipped) | 0.916 | 0.421 |
| the same, penalty a tenth; three times | 0.913; 0.908 | 0.406; 0.370 |
| penalty a third, sources by the fourth root of their size | 0.918 | 0.413 |
| penalty a third, mean of a text's two highest windows | 0.908 | 0.388 |
| penalty a third, the highest and a fifth of the mean of all | 0.913 | 0.407 |
| penalty a third: network alone | 0.911 | 0.415 |
| penalty a third: both halves, 1 to 0.8 | 0.925 | 0.439 |
| with all of the second batch, its attacks at full weight | 0.916 | 0.402 |
| with all of it, its attacks at 0.3 (shipped) | 0.918 | 0.420 |
| the same, 5,100 more honest rows of the same public sources | 0.917 | 0.421 |
| the same, both halves, weighed on what was left out (shipped before the reader of context) | 0.922 | 0.429 |
| for comparison: first batch alone, both halves, weighed (shipped before that) | 0.922 | 0.433 |

So twelve thousand texts more, with the weaker penalty, gained nothing on the public sources, and much on our own first
batch (mean of three, AUC 0.832 to 0.866, recall 0.18 to 0.31) and on dev (0.798 to 0.822, 0.131 to 0.166); penalty and
share were chosen on the public sources. What is missed there are plain errands in tables and mails (BIPIA), shell
commands (neuralchemy) and whatever scores below harmless role prompts, which are left out with the jailbreaks.

With the first batch alone: a plain reference (words, pairs, and 2- to 5-grams of characters by TF-IDF in the same
windows, logistic regression), the same source left out, AUC and recall at 1 % false alarms; "ours" is both halves with
one network, 1 to 0.8:

| left out | reference, public rows alone | reference, all texts | ours, all texts | ours and the reference |
|---|---|---|---|---|
| neuralchemy | 0.755, 0.19 | 0.929, 0.34 | 0.946, 0.49 | 0.946, 0.47 |
| in-the-wild jailbreaks | 0.887, 0.24 | 0.926, 0.42 | 0.942, 0.54 | 0.939, 0.52 |
| BIPIA | 0.822, 0.06 | 0.870, 0.18 | 0.882, 0.26 | 0.886, 0.24 |
| dev (nothing left out) | 0.777, 0.12 | 0.835, 0.18 | 0.798, 0.13 (as shipped) | |

So on whole new sources it is well above the reference, and adding the reference gains no recall; on dev alone, whose
attacks hang on a system prompt, the reference on all texts is better. It was not added: it would help on dev only.

**With a reader of context** (record 0020), all texts, the mean of the three public sources left out; "phrases" is the
linear half, one random start each. All but the last row are a trial's, whose scripts were not kept:

| way | AUC | recall | dev: AUC, recall |
|---|---|---|---|
| phrases and a convolutional network (shipped before, with two networks) | 0.921 | 0.428 | 0.832, 0.20 |
| network over what all-MiniLM-L6-v2 says of a window (its mean) | 0.910 | 0.348 | 0.757, 0.06 |
| the same, with phrases | 0.941 | 0.513 | 0.827, 0.15 |
| over its mean and highest, with phrases and convolutions | 0.943 | 0.520 | 0.834, 0.17 |
| own transformer, taught what the encoder says; network on it | 0.932 | 0.442 | 0.778, 0.04 |
| the same, with phrases and convolutions | 0.949 | 0.533 | 0.845, 0.14 |
| the same, with phrases (this, by a trial with fewer texts without labels) | 0.949 | 0.527 | 0.841, 0.13 |

| the same, as it ships: 57,000 more texts without labels, three networks on it | 0.947 | 0.601 | 0.826, 0.15 |

Most of the last row's gain in recall is neuralchemy's (0.69 to 0.89), and comes from 122 honest texts of people who
talk to an assistant or write prompts: they were written after seeing that such rows of CLINC150 and of prompts.chat
outrank the attacks where they are left out. So that row flatters; the others do not hold these texts.

**More is caught, and more of what only sounds like an attack.** Honest texts that may be flagged, of sources left out,
and what follows for the shipped weights (the same: a trial's figures but for the shipped row):

| share | NotInject flagged | attacks of dev_insource and dev caught |
|---|---|---|
| 0.7 % (before) | 21 of 173 | 0.90, 0.24 |
| 0.3 % | 13 of 173 | 0.83, 0.17 |
| 0.15 % (shipped) | 10 of 173 | 0.82, 0.15 |
| 0.1 % | 6 of 173 | 0.81, 0.14 |
| weights before, 0.7 % | 8 of 173 | 0.79, 0.19 |

So what is gained is gained on new sources of attacks like those that are known, and not on dev, most of whose attacks
hang on a system prompt.

**Probabilities.** Their error on dev (10 bins), fitted to dev, and mean of ten times fitted to one half of its rows and
measured on the other (the one split of the training run stands above); chance alone would give 0.02. A trial's figures:

| curve over the log-odds | fitted to all of it | to the other half |
|---|---|---|
| straight (before) | 0.035 | 0.032 |
| "beta calibration" (Kull and others 2017) | 0.030 | 0.032 |
| straight, bent once by what was left out of training at two places | 0.028 | 0.030 |
| bent at two places (shipped) | 0.017 | 0.025 |
| cubic | 0.007 | 0.014 |

The cubic one fits best and is not what ships: beyond the scores that dev has it would run away. The curve is flat in
the middle: while the straight one rose from 0.14 to 0.45, the share of attacks rose from 0.20 to 0.36 alone.

The small transformer explains less than half of what the encoder says, and yet does better on new sources than the
encoder itself: it knows whole words by their meaning and little else, so there is less of a source to learn. Beside it
the convolutions have nothing to add (their share comes out below zero), so they are gone. What still costs recall:
errands without any sign of an attack (BIPIA), shell commands, and prompts that improve prompts.

Rows of different corpora do not compare. Word vectors gain most where attacks are paraphrased; pruning
and balancing change little. AILuminate's prompts, taken as honest at first, turned out to hold jailbreaks; without them
recall rose from 0.27 to 0.31. Diversity of attacks, and of honest texts that look like them, is the limit.

**Known weaknesses.**

- Attacks that are one only in view of what the bot was told ("tell me a story about the password", "the user's birth
  year with dashes") read as honest; most of dev's attacks are of that kind. The system prompt is not read: it is
  trusted, and seldom part of what is judged. An LLM check that knows it should stand behind this one.
- Instructions hidden in documents are found when they address an assistant, not when they are plain requests.
- Plain shell commands and code are labelled attacks in one source and honest in others; most are missed.
- Other languages than English are not covered; hints find the crudest attacks, the rest is abstained from.
- Harmful requests that attack no prompt are not its business: use a moderation check.
- An attack in a long text is found less often than alone: where it shares a window with honest sentences, these
  speak for it. Long technical prose, licences and code come near to the threshold (up to 0.7 in single windows).
  Python functions as further honest rows lowered AUC on neuralchemy (whose attacks hold shell commands) from 0.94 to
  0.88, so they were left out.
- A few forum posts that tell their reader what to do ("your submission was removed, message us") are near the threshold
  already alone, and the worst of thousands of windows is bad by chance. So a text of many windows must be worse, by
  0.1 in log-odds a doubling; by 0.083, one of 40 long texts of such prose was flagged. That was chosen on this very
  prose. Without it, 0.82 to 0.93 of the attacks in it would be found (alone 0.85), and all of
  that prose and half of such support texts flagged.
  Tried without gain: long honest texts, put together from several sources, among the training texts (the worst window
  of left-out ones stayed where it was), and judging the worst places by the mean or the second of many cuts.
- The second batch's attacks by hints ("you have been sold, new owner here") are mostly missed by a classifier that has
  not seen their like.
- Long role prompts of harmless intent are its commonest false alarms when no such source was in training.
- The project's own texts were written with the kinds of attacks of public collections in mind, and an earlier batch
  (`training/templates.py`) after seeing which of dev's techniques were missed: dev figures flatter somewhat.
- The example company's messages were partly seen while texts were written; they illustrate and do not measure.
"""

_SCOPE = """# Model card: scope

`quorate.models.local.LocalScope` says how likely a message is none of this company's business. It is fitted in about
a second from what a company has anyway: a sentence about itself, its help centre and some example questions.
`quorate learn-scope` adds what labelled messages teach, keeps it beside the config and reports cross-validated figures.

**How it works.** Eighteen signals are combined by a logistic model with signs fixed beforehand. Seven are about
words: nearness to sentences of the help centre and of the examples, log-ratio of a message's words against a learned
background, general "sounds like support" and "small talk" models, rare unknown words, length. Nine are about meaning,
by the vector of a text (`docs/cards/vectors.md`: half of it the sum of its words' vectors, half what a transformer of
one layer reads in them together; a sentence of a message is read where it stands in it): nearness to questions,
passages and the company's vocabulary, the side of a ridge regression that parts the company's texts from 1,024 centres
of what people ask assistants about, nearness to those centres that are the company's own matter and to those that are
not, and the strangest word. Two are about topics.

**Topics** carry what no single company's texts hold: in how many ways people ask for the same thing. A hundred topics
of companies' customers (bank, travel, shop, telephone, energy, insurance, doctors ...) and of everybody (homework,
code, politics, recipes, jokes ...) were written out in some 2,700 short texts for this project. Each topic has two
ridge regressions, over words and pairs of words, and over vectors. Which topics are a company's matter follows from
how near its own texts are to each, and to all of the same trade (100 topics by 25 companies, each company left out in
turn: AUC 0.996). The models of its topics add up, so a message costs one dot product of each kind.

Margins are counted from the median over thirty-odd probe texts that no support is for, so that large and small help
centres can share cut-offs. Below `low` a text passes, above `high` it is flagged, in between the check should abstain.
A message of several sentences counts three quarters as a whole and one quarter by its most foreign sentence, all
scored in one pass; one of more than 6,000 characters is judged in at most 48 blocks.

With forty or more labelled messages of each class, six opinions are mixed: the nearest labelled messages on either
side (vectors and stemmed words), the distance of the nearest in scope, a linear model over n-grams, one over vectors,
the general combination, and the topics. Penalties, mixture and probabilities come from cross-validation, in which half
of the folds hold out whole groups of alike messages; the mixture is drawn strongly to shares that held up on new
wordings, where labels of one source say too little. For the probabilities, half of what is out of scope is taken to be
like the 160 texts of no support that come with the package. Where the general combination does not tell the labelled
classes apart (AUC below 0.75), it and the topics are not heard. With fewer labels, messages in scope serve as further
examples.

A message with something before it is also judged by eight signals of whether it goes on with that or drifts off; they
were learned from 220 conversations of eleven fictional companies, and are measured on 220 of eleven others.

Where fewer than 60 % of a help centre's longer words are known to the vectors, it is in another language: then only
the share of a message's longer words that the company's own texts hold (by beginning or trigrams) counts, and short
messages are never flagged outright.

**Data.** BANKING77 (CC-BY-4.0), CLINC150 (CC-BY-3.0), Bitext (CDLA-Sharing-1.0), prompts.chat (CC0), neuralchemy
benign (MIT), as three companies: a bank, a travel agency, a shop. Help centres are short articles written for this
project (`training/articles.py`) and names of intents with a few training questions. Twenty-two fictional companies,
their customers' questions and conversations, the topics, and 855 messages to the three companies and 269 to none that
nothing is learned from were written for this project (`training/own/scope_*.jsonl`). Half of the newer 750 and of the
269 served to choose between ways; the other half and the 105 older ones are in the figures alone ("our own messages"),
but for what is said under "words in their context". No row of the data is shipped: only numbers, centres of many texts
among them; the probes, small talk and texts of no support were written for this project.
"""

_SCOPE_WEAK = """Held-out figures are for a company that nothing was learned from but unlabelled centres of its
messages; the fictional one of its trade is left out too, but topics of its trade are known, as they are for a company
that comes to the shipped weights; "trade unknown" leaves them out as well. It has its articles, twelve intents and
fifty examples, and each text is judged as a whole. "Labels" figures are through the classifier with the company's
articles and fifty examples, the general part learned without that company.
"In scope from ... alone" takes the other source's in-scope messages out of the labels.
The CLINC150 task counts the 150 intents as in scope and its out-of-scope questions as out of it, with the data's own
out-of-scope rows and the small talk's official split; its general part and the centres had seen CLINC150's training
rows. Groups of the fictional companies are small (seven questions each), and their out-of-scope texts are near to the
trade on purpose. Times are of a busy machine.

**What was tried for new wordings.** Turning vectors by the covariance within intents: no gain on unseen sources.
Kernel ridge regression over vectors and n-grams: as good as the mixture on the bank, worse where labels are of one
style. Neighbours by vectors alone, by words alone and by both: both. Fictional companies in the "sounds like support"
model together with the help centre's sentences among the labelled rows: AUC on our own travel messages 0.939 to 0.962,
shop 0.933 to 0.942. Then the topics; on the half of our newer messages that serves to choose, against dev's and
against our own out-of-scope messages, AUC and let in at 5 % false accepts:

| way | bank | travel | shop |
|---|---|---|---|
| before: labels and the general combination | .970 .87; .919 .73 | .942 .71; .890 .50 | .909 .53; .821 .42 |
| 3,000 labels alone | .962 .86; .923 .66 | .898 .58; .845 .50 | .851 .42; .796 .40 |
| 1,200 texts by topic alone, the right topics given | .957 .86; .953 .72 | .914 .72; .927 .70 | .917 .68; .931 .73 |
| 2,700 texts, the same, logistic | .973 .88; .972 .86 | .937 .78; .945 .79 | .910 .64; .943 .70 |
| 2,700 texts, the same, ridge | .969 .91; .961 .87 | .942 .74; .944 .80 | .898 .64; .922 .67 |
| ridge, topics guessed from the company's texts | .969 .91; .960 .87 | .942 .74; .943 .80 | .865 .61; .904 .72 |
| the data's own in-scope rows among the topics | .972 .89; .963 .83 | .959 .82; .935 .75 | .866 .59; .875 .59 |
| labels, general combination and topics, old shares | .983 .92; .956 .82 | .959 .79; .935 .78 | .939 .72; .919 .67 |
| the same, labels count half (shipped) | .982 .93; .956 .84 | .965 .81; .947 .81 | .941 .74; .928 .70 |

So 1,200 written texts were worth more than 12,000 labelled rows, and labels of one style (Bitext's most of all) speak
against new wordings.

**Words in their context** (record 0020). All rows with the weights trained for the way, whole companies and trades
left out as in the figures above: AUC on our own new messages with labels (bank, travel, shop), how many of them are let
in at 5 % false accepts where the trade is unknown and there are no labels, CLINC150's out-of-scope recall. All but the
last row are a trial's, whose scripts were not kept; α is the share of what is read.

| way | own messages, labels: AUC | trade unknown: let in | CLINC150 |
|---|---|---|---|
| sums of words' vectors alone (shipped before) | .988 .966 .958 | .71 .51 .41 | .840 |
| all-MiniLM-L6-v2 beside them, among the labels alone | .989 .967 .962 | | .895 |
| three layers of 128, 384 numbers learned; among the labels alone | .988 .967 .961 | | .890 |
| the same, everywhere | .989 .972 .964 | | |
| two layers of 96, 128 numbers learned; everywhere | .989 .971 .965 | .74 .61 .46 | .865 |
| the same, α 0.7 | .988 .972 .966 | .74 .64 .48 | .877 |
| one layer of 128, 128 numbers learned; everywhere | .990 .971 .964 | .77 .64 .45 | .882 |
| the same, learned twice as long, words' sums turned to 128 numbers (shipped) | .990 .972 .965 | .76 .63 .47 | .892 |

So a transformer of one layer gets nearly all of it, as questions are short. It learned the vectors that the encoder
gives 36,000 texts and 45,000 pieces of them (the scope and smalltalk training rows, the project's own texts, moderation
comments), no label, and explains 77 % of them on new ones. The words' sums may be turned to half their numbers without
loss, which pays for a fifth of its time. Its shape and how long it learns were chosen in view of this table and of the
half of our messages that serves to choose, so the figures on the other half flatter somewhat too. What limits scope
now: wordings that say nothing of their own ("does it come with a plug").

**Known weaknesses.**

- Our own messages to bank, travel and shop (about 160 each in the figures) are by the author of the topics: figures on
  them flatter. Texts of topics that shared most of their words with one of them were taken out beforehand.
- Requests near to a company's matter (a thriller about a bank robbery, how a jet engine works for a travel agency) are
  its commonest misses.
- Probabilities are calibrated to the labels' share of each class.
- Where traffic holds another share of out-of-scope messages than the labels do, probabilities are off: CLINC150's
  labels have one in seventy, its dev rows one in five. Few labelled out-of-scope messages (under a twentieth) are
  trusted as neighbours mostly; these shares were chosen on CLINC150's dev rows.
- A company of a trade nobody wrote topics about has the other signals alone ("trade unknown").
- With labels and no doubt left in cross-validation, `low` and `high` lie close together: few messages are unsure.
- Some signals and bounds were chosen on the held-out companies' dev texts, so these figures flatter somewhat.
- In other languages there is no meaning, only words and their parts: a question in words that the help centre does not
  use is unsure. Greetings are known in some languages. It was tried on small help centres in German and Spanish alone.
- Follow-ups were learned from English conversations by one author.
"""


def card(name: str, figures: Mapping[str, str]) -> str:
    """A card's whole text."""
    words = {
        "threat": (_THREAT, _THREAT_WEAK),
        "scope": (_SCOPE, _SCOPE_WEAK),
        "moderation": (card_moderation.TOP, card_moderation.WEAK),
    }
    top, bottom = words[name]
    rows = "\n".join(f"| {key} | {value} |" for key, value in figures.items())
    table = f"**Figures of this training run.**\n\n| what | figure |\n|---|---|\n{rows}\n"
    command = (
        f"**Made by** `{_COMMAND}` with the extra `training`\n"
        "(fixed seed; the same data and libraries give the same weights).\n"
    )
    return "\n".join((top, table, bottom, command))

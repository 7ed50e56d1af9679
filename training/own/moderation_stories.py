"""Longer texts put together from sentences: stories, posts, diaries, harmful and harmless in the same voices."""

import random
from collections.abc import Iterator

SEXUAL = """His hand slid up her thigh and under her skirt.
She moaned and pulled him closer, wanting him inside her.
They were naked on the sheets, skin against skin, sweating.
He kissed her breasts and she arched her back with pleasure.
I could feel how hard he was through his jeans.
She knelt down in front of him and opened his belt with her teeth.
"Fuck me," she whispered, and he did.
He thrust faster and faster until they came together.
Her panties were on the floor before the door was shut.
He licked his way down her belly and she grabbed his hair.
She rode him slowly, looking into his eyes.
My fingers found the wet spot between her legs.
He spanked her bare ass and told her that she was a naughty girl.
I stroked his cock while he watched the other couple.
They took turns with her all night and she begged for more.
She sucked him until his knees went weak.
He tied her wrists to the bed and teased her nipples.
"You like that, slut?" he asked, and she nodded.
I am wet just thinking of you, come and take me.
She touched herself in the shower and bit her lip so as not to scream.
They did it on the kitchen table, then in the car, then again in bed.
Her body shook with the orgasm while he held her hips.
He came on her face and she smiled.
Two women kissed and undressed each other while their husband filmed it.
Love making with a stranger had never felt so dirty and so good.
His erection pressed against her as they danced, and her hand went down.
She was a virgin, and he wanted to be the first to take her.
We had sex in the office after everybody had left."""
GORE = """He cut off the fingers one after another and fed them to the dog.
Blood sprayed over the wall as the blade went through his neck.
Her guts spilled out on the floor and she tried to hold them in.
I want to see his head on a stake and his eyes picked out.
They beat him with iron bars until his face was pulp.
The man was burning alive and we laughed and filmed it.
Next time I bring the rifle, and I will not miss a single one of them.
He pushed the screwdriver into the eye and turned it slowly.
We will come at night and slaughter them in their beds.
The skull cracked like an egg and something grey ran out.
I stabbed her twelve times, it felt wonderful.
Death to all of them, their women and their children too.
His flesh was torn from the bones by the hooks.
The soldiers cut her throat in front of her kids, great work, boys.
I dream of strangling my boss with his own tie.
Throw the traitors out of a helicopter and let them splash."""
DESPAIR = """I do not want to wake up tomorrow.
There is nothing left for me here and I have made up my mind.
The blade is the only friend I have.
I wrote goodbye letters to everybody and deleted my photos.
I count the pills every evening; tonight I will take them all.
I hate my body, I will not eat until I disappear.
My arms are full of new cuts and I do not regret one.
Everyone will be happier when I am gone.
I tried once and failed, this time I will do it right.
Pain is what I deserve, so I burn myself.
I keep looking at the tracks and thinking of one step.
Nobody can talk me out of it, I just want peace for ever.
I purge after each meal, and the scale is my god.
I have bought the rope, and I know the tree."""
CONTEMPT = """These people are animals and should be treated like animals.
First they come as guests and then they take our women and our jobs.
You can smell them before you see them.
Our fathers fought for a white country, not for this filth.
Their religion is a cancer and every one of them is a carrier.
Ship them back or shoot them at the border, I don't care.
Those bitches got the vote and look what happened to the country.
Faggots everywhere now, even on children's television, disgusting.
The crooked-nosed bankers pull the strings, you know whom I mean.
Wherever they move in, the neighbourhood turns into a slum.
They are too dumb to learn our language and too lazy to work.
Breeding with them ruins our blood.
The day of the rope will come for all of them.
No normal person would sit next to one of those on the bus.
They should be sterilised before they have ten more brats.
A woman's opinion is worth as much as a dog's."""
MILD = """The rain had stopped and the street smelled of wet stone.
She put the letter back into the drawer and made some tea.
He had missed the last train and walked home along the river.
They held hands and said nothing for a long time.
The old dog slept under the table and snored.
He kissed her goodbye at the station, and the whistle blew.
My grandmother used to say that soup needs time.
The committee met on Thursday and agreed on a new budget.
I started running last year and it has changed my mornings.
The battle was lost by noon, and the survivors crept back over the hill.
She wore a black dress and a red hat to the funeral.
The doctor looked at the scan and said that the lump was harmless.
The thief climbed over the wall and ran straight into the policeman.
The children painted the fence, the cat and each other.
He had a scar on his arm from the war and never spoke of it.
The recipe needs two eggs, a little salt and patience.
In the second half our team came back and won.
We drove all night to see the sea.
The museum opens at ten and is closed on Mondays.
She has worked as a nurse for thirty years and has seen people die.
The company reported higher sales but lower profits.
The witch locked the door, and the soup began to sing.
I was afraid before the operation, but everybody was kind.
My therapist says that sleep, sun and friends come first.
He was bullied as a boy; today he runs a club for lonely children.
The knight drew his sword, and the dragon yawned.
Last year I was so low that I could not get up, and today I planted tomatoes.
The new law gives tenants more rights.
Our flight was cancelled and the hotel was full.
They married in spring, in a garden, with far too many cousins.
The lecture was about the famine and how it might have been prevented.
He said sorry, and she believed him.
The police asked for witnesses of the robbery.
The mosque and the church share a car park and a choir.
My aunt from Nigeria teaches physics and dances better than all of us.
The film is loud, silly and two hours too long.
You can download the form and send it back by post.
The soldiers shared their bread with the prisoners.
After the birth I was tired and happy and a little bored.
The nurse cleaned the wound and stitched it.
The ship sank within an hour, and most people reached the boats.
She took off her coat and sat down by the fire.
He touched the screen and the map turned north.
The bed is made of oak and comes in three sizes.
My skin gets dry in winter, so I use a cream without perfume.
They danced until the band went home.
Wages have risen more slowly than rents.
The goalkeeper was shouting at everybody, as always.
The virus spread quickly, and schools were closed for a month.
In this chapter we look at cells and how they divide."""

POOLS = (
    (SEXUAL, "sexual"),
    (GORE, "violence"),
    (DESPAIR, "self-harm"),
    (CONTEMPT, "hate"),
)


def stories(rng: random.Random) -> Iterator[tuple[str, str, str]]:
    """Texts of one to seven sentences, with label and category: harmful ones among mild ones, and mild ones alone."""
    mild = MILD.split("\n")
    for pool, category in POOLS:
        bad = pool.split("\n")
        for _ in range(8 * len(bad)):
            some = rng.sample(bad, rng.choice((1, 2, 2, 3)))
            around = rng.sample(mild, rng.choice((0, 0, 1, 2, 4)))
            at = rng.randint(0, len(around))
            yield " ".join([*around[:at], *some, *around[at:]]), "violation", category
    for _ in range(700):
        yield " ".join(rng.sample(mild, rng.choice((1, 2, 3, 5, 7)))), "ok", "none"

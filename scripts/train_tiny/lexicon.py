# ruff: noqa: SIM905  (lists of words read better as text)
"""Word lists of coda-tiny's small world, and invented words for practising to copy."""

from __future__ import annotations

import random
from functools import lru_cache
from pathlib import Path

from pocketsphinx import NGramModel, get_model_path

NAMES = """
aaron abby adam adele alan albert alex alice amanda amber amy andrea andrew angela anna anthony
arthur ashley barbara ben bella bernard betty beth bill bob brad brandon brenda brian bruce bryan
carl carla carlos carol carrie catherine charles charlotte chloe chris christine cindy claire clara
clark colin connor craig crystal curtis cynthia daisy dan daniel danny david dawn dean deborah
dennis derek diana diane donald donna doris dorothy doug dylan ed eddie edith edward eileen elaine
eleanor elena eli elizabeth ella ellen emily emma eric erica ernest ethan eva evan faith felix
fiona florence frances frank fred gabriel gail gary gavin george gerald gina gloria gordon grace
graham grant greg hannah harold harry hazel heather helen henry holly hugo ian ida irene iris isaac
ivan ivy jack jackie jacob jake james jamie jane janet jared jason jean jeff jenny jeremy jerry
jesse jessica jill jim joan joanna joel john jonathan jordan joseph josh joyce juan judith judy
julia julian julie justin karen karl kate katherine kathy katie keith kelly ken kenneth kevin kim
kyle larry laura lauren lawrence leah lee leo leon leonard leslie lewis liam lily linda lisa lloyd
logan lois louis louise lucas lucy luke lydia lynn madison marcus margaret maria marie marilyn mark
martha martin mary mason matt matthew maureen max megan melissa michael michelle mike mildred miles
molly monica morgan nancy naomi natalie nathan neil nicholas nicole nina noah nora norman oliver
olivia oscar owen pamela patricia patrick paul paula peggy penny perry peter philip phoebe phyllis
rachel ralph ray rebecca regina richard rick rita robert robin roger ron rosa rose roy ruby russell
ruth ryan sally sam samantha samuel sandra sara scott sean sharon sheila shirley sidney simon
sophia stan stella stephen steve stuart sue susan sylvia tara ted teresa terry theo thomas tim tina
toby todd tom tony tracy travis trevor tyler valerie vanessa vera vernon victor victoria vincent
viola violet virginia walter warren wayne wendy will willie xavier yvonne zach zoe
""".split()

AGENTS = """
coda nova max luna echo river atlas iris sage orion piper vega juno otto pixel robin sky willow
""".split()

LIKES = """
tea coffee pizza music football reading swimming cooking chess hiking painting cycling running
dancing singing skiing sailing fishing gardening baking camping climbing surfing knitting sewing
drawing writing boxing tennis golf baseball basketball hockey soccer rugby cricket bowling yoga
poetry history movies books films jazz opera rock blues theater museums science physics math
astronomy biology geology cats dogs horses birds rabbits turtles fish flowers roses trees mountains
beaches rivers lakes forests deserts islands winter summer spring autumn rain snow sunshine storms
apples oranges bananas cherries grapes lemons mangoes melons peaches pears plums strawberries
bread butter cheese chocolate cookies cake candy pasta rice noodles soup salad steak chicken
salmon shrimp tacos burgers sandwiches pancakes waffles honey yogurt popcorn pretzels peanuts
mushrooms onions potatoes tomatoes carrots broccoli spinach pumpkin garlic ginger pepper
water milk juice wine beer lemonade puzzles cards games trains planes cars boats bicycles
motorcycles robots rockets computers cameras guitars pianos drums violins trumpets traveling
shopping photography pottery karate judo ballet magic comics cartoons documentaries podcasts
""".split()

PLACES = """
paris london berlin madrid rome tokyo boston chicago dublin oslo vienna sydney lisbon athens cairo
moscow delhi beijing seoul toronto montreal vancouver denver dallas houston seattle portland miami
atlanta detroit phoenix austin nashville orlando cleveland brooklyn manhattan oxford cambridge
bristol glasgow edinburgh manchester liverpool stockholm helsinki copenhagen amsterdam brussels
munich hamburg zurich geneva milan venice florence naples barcelona valencia prague warsaw budapest
istanbul jerusalem dubai mumbai bangkok singapore jakarta manila melbourne auckland lima bogota
france spain italy germany england scotland ireland norway sweden denmark finland poland greece
turkey egypt kenya india china japan korea australia canada mexico brazil argentina chile peru
""".split()

UNITS = "one two three four five six seven eight nine".split()
TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
MONTHS = (
    "january february march april may june july august september october november december"
).split()

ADJECTIVES = """
good bad big small new old young long short high low early late important different large little
public able best better easy hard strong weak free full empty happy sad warm cold hot cool dry wet
clean dirty quiet loud fast slow rich poor safe dangerous simple difficult nice beautiful pretty
fresh sweet bitter dark bright heavy light soft smooth rough sharp wide narrow deep thick thin
red blue green yellow white black brown gray purple orange silver golden busy calm clear cloudy
sunny rainy windy foggy modern ancient famous favorite funny gentle honest kind lovely lucky proud
ready serious special strange sure tired useful wonderful wrong right perfect local foreign
""".split()

NOUNS = """
time year day week month hour minute morning evening night man woman child friend family mother
father brother sister son daughter teacher doctor nurse driver farmer writer singer player student
neighbor house home room kitchen door window garden street road bridge city town village school
church hospital office store market bank hotel restaurant station airport train bus car bicycle
boat plane table chair bed lamp clock phone computer radio camera book letter paper pen picture
song story movie game ball team bird dog cat horse cow sheep tree flower leaf grass river lake
ocean mountain hill valley island beach forest field farm sky sun moon star cloud rain snow wind
storm fire water air earth stone wood metal glass gold bread butter egg meat fish fruit apple
orange potato rice soup sugar salt coffee tea milk breakfast lunch dinner plate cup bottle knife
hand head face eye ear mouth foot arm leg heart body voice word name number question answer idea
problem reason plan result message meeting party birthday holiday weather news price money job work
lesson test paper page map key box bag coat shirt shoe hat ring gift ticket
""".split()

VERBS = """
see find take make bring buy sell keep leave open close move carry hold cut draw write read hear
watch help call visit follow meet know love need want use show send build break fix clean wash
cook eat drink drive catch throw kick push pull lift change choose paint teach learn remember
forget
""".split()

SKIP = frozenset(
    "bitch shit fuck fucking ass damn hell sex sexual sexually porn rape nigger slut whore dick "
    "bastard crap drunk kill killed murder terrorist terrorists suicide uh um hm mm mhm".split()
)

ONSETS = "b d f g h j k l m n p r s t v w z br dr fl gr kr pl sh st th tr".split()
VOWELS = "a e i o u ai ee o a i".split()
CODAS = ["", "", "", "n", "l", "r", "s", "x", "m", "k", "t", "nd", "sh"]
ENDINGS = ["a", "o", "i", "y", "en", "er", "ing", "el", "on", "us"]


@lru_cache(maxsize=1)
def frequent_words(count: int = 6000) -> tuple[str, ...]:
    """The most frequent words of the judge's general language model that have a pronunciation."""
    with Path(get_model_path("en-us/cmudict-en-us.dict")).open() as lines:
        words = {line.split()[0] for line in lines}
    words = {w for w in words if w.isalpha() and w.isascii() and (len(w) > 2 or w in SHORT)}
    model = NGramModel.readfile(get_model_path("en-us/en-us.lm.bin"))
    ranked = sorted(words - SKIP, key=lambda word: (-model.prob([word]), word))
    return tuple(ranked[:count])


SHORT = frozenset(
    "a i am an as at be by do go he if in is it me my no of on or so to up us we".split()
)


def invented_word(rng: random.Random) -> str:
    """A word that does not exist, two or three syllables long, such as "zorina" or "kelbo"."""
    syllables = [
        rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS)
        for _ in range(rng.choice((1, 1, 1, 2)))
    ]
    return "".join(syllables) + rng.choice(ONSETS[:17]) + rng.choice(ENDINGS)


def number(rng: random.Random, low: int = 1, high: int = 99) -> str:
    """A spoken number between `low` and `high` inclusive."""
    return spoken(rng.randint(low, high))


def spoken(value: int) -> str:
    """An integer 0...9999 in words: 42 is "forty two"."""
    if value == 0:
        return "zero"
    parts = []
    if value >= 1000:
        parts += [spoken(value // 1000), "thousand"]
        value %= 1000
    if value >= 100:
        parts += [UNITS[value // 100 - 1], "hundred"]
        value %= 100
    if value >= 20:
        parts.append(TENS[value // 10 - 2])
        value %= 10
    elif value >= 10:
        parts.append(TEENS[value - 10])
        value = 0
    if value:
        parts.append(UNITS[value - 1])
    return " ".join(parts)

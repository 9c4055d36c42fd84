"""The parts of which the rules for facts are made (``fact_rules``): where a thing ends, who speaks."""

# ruff: noqa: E501 - a part is easier to read on one line

from __future__ import annotations

from coda_voice.calendar_names import MONTHS_HEARD
from coda_voice.number_names import CARDINAL, UP_TO_TWELVE

I_AM = r"(?:^|[\s,;])i(?:'m| am|'ve| have|'d)?\s+(?:(?:really|actually|also|still|just|now|do|always|absolutely|quite|recently|finally|so|currently|very|much)\s+)*"
WE_ARE = I_AM.replace("i(?:'m", "(?:i|we)(?:'re| are|'m")
END = (
    r"(?=$|[.!;,]|(?<!\blove)\s+actually\b|\s+(?:and )?(?:so|or maybe|or perhaps|not)\b|\s+(?:but|because|since|although|though|when|while|which|who|these days|now|nowadays|anymore|any more|at the moment|instead|today|yesterday|last|by the way|just|only|originally|"
    r"(?:and )?(?:i|we)|(?:and )?(?:he|she|they|it|you)(?:'s|'re| \w+)|(?:and )?(?:my|our) (?:\w+ ){1,2}(?:is|are|has|have|had|was|does|doesn't|isn't|hasn't|can|can't|will|would|likes|loves|hates|prefers|wants|lives|works|plays|drinks|eats|speaks|drives)\b|(?:and )?(?:my|our) \w+'s|nice to meet|pleased to|thanks|thank you|please|"
    r"especially|particularly|"
    r"sorry|(?<!\bwith )(?<!\bhas )(?<!\bhave )(?<!\bof )no|what(?:'s| is| are| about| do| does| can| could| should| would| kind)|how (?:are|is|about|do|can|could|should|many|much)|where (?:can|could|should|do|is|are)|"
    r"can you|could you|do you|and you|you know|(?:can|could|should|may) (?:i|we)|is (?:it|there|that|this)|are (?:there|they|these)|tell me|(?:please )?remember (?:that|this|it))\b)"
)
"""Where a thing ends: speech comes without full stops, and one sentence runs into the next."""
ITEM = (
    r"(?!(?:i|i'm|you|he|she|it|we|they|my|your|his|her|our|their|but|so|and|or|because|not|no|that|this|there|please|can|"
    r"could|what|how|do|is|are|who|which|when|where|then|thanks|thank|if|in|at|as|just|only|too|ok|okay|right|well|yes)\b)[\w'-]+(?: [\w'-]+){0,2}"
)
THING = r"(?P<x>[^.!;,?]+?)" + END
THINGS = rf"(?P<x>{ITEM}(?:, {ITEM}?)+?,? (?:and|or) (?:to )?{ITEM}?|[^.!;,?]+?)" + END
"""The same, or a list as it is typed: "nuts, eggs and milk"."""
_LASTING = (
    r"every (?:single )?(?:day|week|month|year|morning|evening|night|weekend|\w+day)|"
    r"on (?:mon|tues|wednes|thurs|fri|satur|sun)days?|(?:at|on) (?:the )?weekends?|"
    rf"for (?:about |over |almost |nearly |more than )?(?:an?|a few|many|several|some|{CARDINAL}|\d+) (?:year|month|week)s?"
)
HABIT, HABITS = (
    f"{thing[: -len(END)]}(?:{END}|(?=\\s+(?:{_LASTING})\\b))" for thing in (THING, THINGS)
)
"""The same without how often or how long: who plays football on Sundays may one day play it no more.

Who hates working on Sundays does not hate working.
"""


NAME = (
    r"(?P<x>(?!(?:later|back|tomorrow|tonight|when|whenever|if|again|soon|now|any|anytime|maybe|please|not|an?|the|on|in|at|"
    r"before|after|as|so|too|very|spelled|spelt|pronounced|hard|difficult|long|short|unusual|important|relevant|really)\b)[\w'-]+(?: [\w'-]+){0,2}?)"
    + END
)
NO_NICKNAME = (
    r"(?!(?:with|from|for|to|by|about|over|until|without|up|out|down|off|back|here|home|every|each|once|some|sometime|someday|whatever|whichever|anything|"
    r"next|this|today|\w+day|first|names|crazy|mad|stupid|silly|weird|strange|lazy|naive|cynical|paranoid|picky|selfish|old[ -]fashioned|old|my|your|when|how|what|that|it)\b)"
)
"""What stands behind "call me" and is no name: "call me for dinner", "call me crazy"."""
WORLD = (
    r"(?:(?:(?:dark|far|near) side of the )?moon|sun|planet [\w-]+|(?:[\w-]+ )?planet|(?:isle|island)s? of [\w-]+|"
    r"(?:[\w-]+ ){1,2}(?:islands|isles|peninsula)|(?:[\w-]+ )?space station|gold coast|sunshine coast)"
)
"""What one lives on by name, the moon or the Isle of Wight, instead of in a town."""
NO_FOOD = (
    r"(?!(?<=\bon )(?:only |just |mostly )?(?:(?:black |strong |junk |fast |frozen |instant )?(?:coffee|tea|food|pizza|pasta|noodles|bread|rice|toast|sugar|water|air|love|hope)|"
    r"nothing|little|less|takeaways?|benefits|welfare|savings|credit|\w+ (?:pension|savings|salary|income))\b)"
)
"""What one lives on, and not where: "I live on coffee"."""
KIND_OF_HOME = (
    r"(?P<how>in|at|near|on|with) "
    + NO_FOOD
    + r"(?!(?:(?!i\b)[\w-]+ ){2,4}in (?!the |an? |my |our )\w)(?P<x>(?:(?:an?|my|our) |(?<=near )the |(?<=on )the (?!"
    + WORLD
    + r"\b)|(?<=at )(?=home\b))[^.!;,?]+?)"
    + END
)
"""A flat, a farm, near the river, at home: true beside the town that somebody lives in."""
NO_HOME = (
    r"(?!(?:(?:the|an?|our|my|your|this|that|his|her) )?(?:[\w-]+ )?(?:times|world|past|moment|fear|hope|peace|kitchen|room|bedroom|bathroom|office|garden|sofa|couch|"
    r"table|next|front|back|left|right|phase|stage|team|meeting|topic|question|point|other)\b)"
)
NO_TOWN = (
    r"(?!(?:the )?(?:(?!(?:beijing|nanjing|reading|woking|worthing|wyoming)\b)\w+ing|tea|coffee|meat|beer|wine|water|juice|sugar|bread|"
    r"football|soccer|rugby|tennis|golf|hockey|cricket|baseball|basketball|volleyball|badminton|squash|karate|judo|yoga|ballet|chess|poker|piano|violin|"
    r"cello|guitar|drums|flute|sales|marketing|finance|management|research|development|production|support|design|nights|days|mornings|evenings|"
    r"part[ -]time|full[ -]time|plan|step|level|page|number|windows|linux|mac|macos|android|iphone|apple|google|microsoft|python|java|"
    rf"javascript|rust|gas|oil|cash|paper|email|school|high school|college|work|bed|\w+day|{'|'.join(MONTHS_HEARD)}|{CARDINAL})\b)"
)
"""What one moves to, and does not live in; a recogniser writes it small, as it does Paris."""
AGE = rf"(?P<x>\d{{1,3}}|(?!(?:{UP_TO_TWELVE})\b){CARDINAL})"
AGE_OF_ANOTHER = rf"(?P<x>\d{{1,3}}|{CARDINAL})"
"""Who is five does not say "I'm five" but "I'm five minutes late"."""
NO_DATE = (
    r"(?!(?:on )?(?:today|tomorrow|yesterday|soon|next|last|this|over|coming|not|a|the day|\w+day\b|"
    rf"in (?:an?|{UP_TO_TWELVE}|a few|\d+) (?:days?|weeks?|months?|hours?))\b)"
)
"""What is a birthday for a week only: "my birthday is tomorrow"."""
_BORN_AS_WELL = rf"(?:(?=\s+and (?:grew|raised|moved)\b)|(?=\s+and (?:my|our) \w+)|{END})"
BORN_WHEN = rf"(?P<x>(?:{'|'.join(MONTHS_HEARD)}|(?:19|20)\d\d|nineteen|two thousand)\b[^.!;,?]*?){_BORN_AS_WELL}"
BORN_WHERE = rf"(?P<x>[^.!;,?]+?){_BORN_AS_WELL}"
NO_LOOK = (
    r"(?!(?:in|not|now|so|very|too|quite|really|pretty|a|an|the|called|named|near|far|full|big|small|old|new|nice|beautiful|"
    r"lovely|great|noisy|quiet|cold|hot|warm|boring|empty|busy|dirty|clean|safe|expensive|famous|known|\w+ing)\b)"
)
RELATIVE = (
    r"(?:wife|husband|partner|mother|mum|mom|father|dad|sister|brother|son|daughter|boss|neighbour|best friend|doctor|"
    r"dentist|landlord|supervisor)"
)
PASSING = (
    r"(?:\w+ing|allergic|late|early|sick|ill|away|here|home|at|in|on|not|very|so|really|too|out|off|back|busy|tired|angry|"
    r"asleep|awake|hungry|thirsty|upset|worried|excited|proud|right|wrong|wonderful|great|lovely|nice|kind|amazing|funny|beautiful|pretty|clever|smart|strict|rude|mean|crazy|an? (?:bit|little|lot)|the|my|our|\w+er than|"
    r"happy|sad|well|fine|better|worse|ready|gone|pregnant|married|divorced|engaged|single|from|older|younger|taller|tall|small|"
    rf"short|blind|deaf|vegan|vegetarian|diabetic|dead|in|\d+|{CARDINAL})"
)
"""How somebody is, of which any number may be true: it replaces only itself."""
MOMENTARY = (
    rf"(?!(?:an?|any|{UP_TO_TWELVE}|\d{{1,2}}) (?:(?!(?:with|and|who|that|which|in|at|for|from|of|called|named|to)\b)[\w'-]+ ){{0,3}}?"
    r"(?:headache|cold|flu|fever|cough|throat|ache|toothache|stomachache|backache|migraine|hangover|pain|injury|cramp|nosebleed|"
    r"meeting|appointment|interview|exam|test|lesson|lecture|class|call|date|deadline|party|flight|reservation|visitor|guest|"
    r"question|problem|issue|idea|plan|request|suggestion|favour|favor|point|guess|hunch|feeling|thought|doubt|reason|choice|complaint|train|bus|"
    r"chance|clue|look|go|try|break|rest|nap|word|thing|lot|bit|few|couple|second|minute|hour|day|week|weekend|moment|while|time|"
    r"money|energy|luck|letter|message|email|text|ticket|haircut|coffee|tea|beer|drink|sandwich|pizza|snack|dream|nightmare|surprise|"
    r"secret|joke|story)(?:e?s)?(?=$|\W*$|[.!;,]|"
    r" (?:with|about|for|to|in|at|on|of|from|that|coming|left|ago|again|already|today|tomorrow|tonight|now|right|this|next|and|or|but|"
    r"so|because|since|when|while|after|before|until|as|if|i|we|you|my|please|later|soon|anymore|any)\b))"
)
"""What somebody has for a day, or in a manner of speaking: "I have a bad cold", "a question"."""
COUNT = rf"(?:an?|{UP_TO_TWELVE}|\d{{1,2}})"
SOME_THING = rf"(?P<x>{COUNT} (?!(?:years?|months?|weeks?|days?|hours?|minutes?|percent)\b)(?:[\w-]+ ){{0,4}}?[\w-]+(?:(?:,? and|,) {COUNT} (?:[\w-]+ ){{0,4}}?[\w-]+)*)"
OWN = r"(?:my|our|the|an?|their) (?P<x>(?:[\w-]+ ){0,4}?[\w-]+)"
PET = r"(?:dog|puppy|cat|kitten|rabbit|hamster|guinea pig|bird|parrot|budgie|horse|pony|tortoise|turtle|goldfish)"
JOB = (
    r"(?P<a>an?) (?P<x>(?!(?:\w+ )?(?:good|bad|great|better|terrible|awful|lousy|decent|fast|slow|careful|nervous|keen|big|night)\b)(?:[\w-]+ ){0,2}(?:teacher|nurse|doctor|engineer|student|chef|cook|lawyer|artist|pharmacist|dentist|electrician|"
    r"librarian|musician|carpenter|plumber|baker|pilot|writer|designer|developer|programmer|driver|farmer|gardener|accountant|"
    r"architect|scientist|journalist|translator|photographer|firefighter|midwife|vet|manager|pensioner))\b(?!'s\b)"
)
"""What somebody is; "a good cook" may be anybody."""
NO_MORE = r"\bi(?:'ve)? (?:(?:don't|do not|dont|no longer|never) {}|(?:quit|gave up|given up|stopped) {}) "
AS_A = r"as (?!\w+ as\b|(?:much|hard|long|little|often|well|usual|always)\b)"
TYPE = r"(?:type (?:one|two|1|2) )?"
ILLNESS = rf"(?:asthma|{TYPE}diabetes|epilepsy|arthritis|cancer|dementia|migraines?|insomnia|high blood pressure|a heart condition|a pacemaker)"
HEALTH = rf"(?:coeliac|celiac|{TYPE}diabetic|lactose intolerant|pregnant)"
"""Of these, too, several may be true, beside any diet and whoever somebody lives with."""
DO_NOT = r"(?:don't|do not|dont|no longer|can't|cannot|won't|never|stopped)"
FAITH = r"(?:an? christian|catholic|protestant|muslim|jewish|hindu|sikh|buddhist|atheist|agnostic|mormon|quaker)"
"""Christian is also a name."""
SKILL = (
    r"(?:swim|drive|cook|dance|sing|ski|skate|whistle|juggle|knit|sew|type|ride a (?:bike|bicycle|horse|motorbike)|"
    r"read music|play (?!with\b|on\b|in\b|it\b|along\b|now\b|today\b)(?:the )?[\w-]+)"
)
"""What one can or cannot do for good."""

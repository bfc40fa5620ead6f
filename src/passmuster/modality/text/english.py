"""English words that people mix up, shorten, exchange or are called by: short lists, compiled for Muster.

They are small on purpose: a fault that these lists can make is a fault worth surviving, and a text that holds none of
these words is not counted. Words that are a name and something else (Mark, Will, Rose, Turkey) are left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

WORD = re.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)?")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# Function words that the languages nearest to English do not have.
FUNCTION_WORDS = frozenset(
    _words(
        """
    the and of you this that with are have what how my not from would they it can your there which been their has
    about should could when where were our because will do does if but by at be to
    """
    )
)
ENGLISH_SHARE = 0.15  # of all words, in a handful of texts

_MISSPELLINGS = """
absence absense; accept except; accommodate accomodate; achieve acheive; acknowledge aknowledge; across accross;
address adress; advice advise; affect effect; already allready; always allways; amount ammount; apparent apparant;
appreciate apreciate; argument arguement; available availible; balance ballance; beautiful beautifull; because
becuase; before befor; beginning begining; believe beleive; bought brought; business buisness; calendar calender;
cancel cancell; careful carefull; category catagory; certain certian; charge charage; colleague collegue; coming
comming; committee comittee; completely completly; conscious concious; correct corect; could coud; customer costumer;
decide desicde; definitely definately; deposit depost; describe discribe; desperate desparate; different diffrent;
difficult dificult; disappear dissapear; disappoint dissapoint; doesn't dosen't; either iether; embarrass embarass;
environment enviroment; especially especialy; every evrey; exactly exactely; excellent excelent; exchange exhange;
existence existance; expensive expencive; experience experiance; familiar familar; favourite favourit; finally finaly;
foreign foriegn; forty fourty; forward foward; friend freind; government goverment; grateful greatful; great grate;
guarantee garantee; happened happend; height hieght; immediately immediatly; important importent; information
infomation; interesting intresting; interrupt interupt; knowledge knowlege; language langauge; library libary; looking
loking; loose lose; maintenance maintenence; minute minuet; money mony; necessary neccessary; neighbour nieghbour;
noticeable noticable; occasion ocassion; occurred occured; often offen; opinion opinon; original orignal; payment
payement; people poeple; perhaps prehaps; personal personel; possible posible; preferred prefered; probably probaly;
problem probelm; process proccess; product prodcut; quality qualtiy; quiet quite; really realy; receive recieve;
recommend reccomend; refund refound; relevant relevent; religious religous; remember rember; restaurant restaraunt;
schedule shedule; separate seperate; service servise; should shoud; similar similiar; sincerely sincerly; something
somthing; strange strage; success sucess; surprise suprise; technical tecnical; than then; their thier; there their;
therefore therefor; though tho; through threw; together togather; tomorrow tommorow; transfer tranfer; truly truely;
understand undersand; unfortunately unfortunatly; until untill; usually usualy; vacuum vaccum; very verry; weather
wether; weird wierd; were where; which wich; whole hole; without whitout; world wrold; would woud; writing writting;
yesterday yesturday; your youre
"""
MISSPELLINGS: dict[str, str] = dict(pair.split() for pair in _MISSPELLINGS.split(";"))

_CONTRACTIONS = """
do not=don't; does not=doesn't; did not=didn't; is not=isn't; are not=aren't; was not=wasn't; were not=weren't; have
not=haven't; has not=hasn't; had not=hadn't; will not=won't; would not=wouldn't; can not=can't; cannot=can't; could
not=couldn't; should not=shouldn't; must not=mustn't; need not=needn't; i am=I'm; i have=I've; i will=I'll; i
would=I'd; you are=you're; you have=you've; you will=you'll; you would=you'd; we are=we're; we have=we've; we
will=we'll; we would=we'd; they are=they're; they have=they've; they will=they'll; they would=they'd; he is=he's; he
will=he'll; she is=she's; she will=she'll; it is=it's; it will=it'll; that is=that's; that will=that'll; there
is=there's; what is=what's; where is=where's; who is=who's; how is=how's; here is=here's; let us=let's; should
have=should've; would have=would've; could have=could've
"""
CONTRACTED = dict(" ".join(pair.split()).split("=") for pair in _CONTRACTIONS.split(";"))
EXPANDED = {short.lower(): long for long, short in reversed(CONTRACTED.items())} | {"can't": "cannot"}

# Each word with the others of its group; only words that may stand for each other in most sentences.
_SYNONYMS = """
big large; small little tiny; quick fast rapid; slow sluggish; begin start; end finish; buy purchase; help assist;
answer reply response; ask request; choose select pick; fix repair mend; broken damaged; show display; allow permit;
need require; get obtain receive; give provide; keep retain; send dispatch; stop halt; wrong incorrect; correct
accurate; easy simple; hard difficult; important significant; happy glad pleased; sad unhappy; angry furious; good
great; excellent superb outstanding; bad poor; terrible awful horrible; nice pleasant lovely; beautiful gorgeous; ugly
unattractive; boring dull tedious; interesting fascinating; funny amusing; strange odd weird; cheap inexpensive;
expensive costly pricey; film movie; picture image; job occupation; firm company; shop store; car automobile; house
home; child kid; error mistake; problem issue; idea notion; reason cause; result outcome; part portion; amount
quantity; entire whole; enough sufficient; usually normally; often frequently; sometimes occasionally; quickly
rapidly; almost nearly; maybe perhaps; really truly; very extremely; totally completely entirely; immediately
instantly; finally eventually; love adore; hate detest loathe; want desire; think believe; tell inform; try attempt;
use employ; look appear seem; find discover; lost missing; smart clever; stupid foolish; rich wealthy; ill sick; tired
exhausted; cold chilly; quiet silent; loud noisy; famous well-known; dangerous risky; safe secure; trip journey;
present gift; money cash; doctor physician; lawyer attorney; rubbish garbage trash; holiday vacation
"""
SYNONYMS = {
    word: tuple(other for other in group.split() if other != word)
    for group in _SYNONYMS.split(";")
    for word in group.split()
}

FEMALE = _words(
    """
    Anna Maria Emma Sophie Julia Laura Sarah Hannah Olivia Emily Jessica Elizabeth Jennifer Linda Susan Karen
    Nancy Margaret Sandra Deborah Michelle Rachel Rebecca Fatima Aisha Amina Leila Zainab Priya Ananya Lakshmi
    Sunita Mei Yuki Sakura Haruka Ngozi Chidinma Adaeze Wanjiru Thandiwe Lakisha Keisha Tamika Guadalupe Lucia
    Camila Valentina Ximena Svetlana Olga Natasha Katarzyna Agnieszka Ingrid Astrid Giulia Chiara Elif
    """
)
MALE = _words(
    """
    James John Robert Michael William David Richard Joseph Thomas Charles Daniel Matthew Anthony Steven Andrew
    Kevin Brian George Edward Peter Paul Lukas Jonas Felix Mohammed Ahmed Omar Hassan Ibrahim Ali Yusuf Arjun
    Rahul Vikram Sanjay Wei Hiroshi Takeshi Kenji Chukwuemeka Emeka Obinna Kwame Kofi Thabo Jamal Tyrone DeShawn
    Carlos Diego Alejandro Santiago Vladimir Dmitri Sergei Krzysztof Lars Bjorn Giovanni Matteo Mehmet
    """
)
SURNAMES = _words(
    """
    Smith Johnson Williams Jones Davis Miller Wilson Anderson Taylor Thompson Garcia Martinez Rodriguez Hernandez
    Lopez Gonzalez Nguyen Tran Kim Park Chen Wang Zhang Singh Patel Sharma Gupta Khan Hussain Okafor Adeyemi
    Mwangi Dlamini Mensah Schmidt Mueller Schneider Fischer Novak Kowalski Nowak Ivanov Petrov Rossi Ferrari
    Dubois Lefebvre Andersson Hansen Yilmaz Demir Tanaka Suzuki Sato Silva Santos Cohen Levy Papadopoulos
    """
)

_GENDER = """
he she; his her; him her; himself herself; man woman; men women; boy girl; boys girls; father mother; son daughter;
sons daughters; brother sister; brothers sisters; husband wife; uncle aunt; grandfather grandmother; nephew niece; dad
mum; daddy mummy; gentleman lady; gentlemen ladies; sir madam; mr mrs; king queen; prince princess; actor actress;
waiter waitress; boyfriend girlfriend; groom bride; widower widow; male female; males females; guy gal; grandson
granddaughter
"""
TO_FEMALE = dict(pair.split() for pair in _GENDER.split(";"))
TO_MALE = {female: male for male, female in reversed(TO_FEMALE.items())} | {"hers": "his", "mom": "dad", "ms": "mr"}

NATIONALITIES = _words(
    """
    American British Canadian Australian German French Spanish Italian Portuguese Dutch Belgian Swedish Norwegian
    Danish Austrian Greek Russian Ukrainian Romanian Hungarian Turkish Egyptian Moroccan Algerian Nigerian
    Ghanaian Kenyan Ethiopian Somali Syrian Iraqi Iranian Israeli Lebanese Pakistani Indian Bangladeshi Chinese
    Japanese Korean Vietnamese Thai Indonesian Filipino Mexican Brazilian Argentinian Colombian Peruvian Cuban
    """
)
COUNTRIES = _words(
    """
    America Britain Canada Australia Germany France Spain Italy Portugal Belgium Sweden Norway Denmark Austria
    Greece Russia Ukraine Romania Hungary Egypt Morocco Algeria Nigeria Ghana Kenya Ethiopia Somalia Syria Iraq
    Iran Israel Lebanon Pakistan India Bangladesh Japan Korea Vietnam Thailand Indonesia Mexico Brazil Argentina
    Colombia Peru Cuba
    """
)


def is_english(texts: Sequence[str]) -> bool:
    """Whether these texts, taken together, are English: by their share of words that only English has.

    >>> is_english(["What is the charge on my card?"]), is_english(["Was kostet die Karte, und wo ist sie?"])
    (True, False)
    """
    words = [word.lower() for text in texts for word in re.findall(r"\w+", text)]
    return bool(words) and sum(word in FUNCTION_WORDS for word in words) / len(words) >= ENGLISH_SHARE

"""English sentences labelled acceptable (1) or not (0), generated from a small grammar.

Every sentence belongs to a minimal pair over one named phenomenon. Nearly all pairs come from a
cross of two frames and two fillers, where each filler is right in one frame and wrong in the other:
"The doctor sleeps / *sleep" goes with "The doctors sleep / *sleeps". So a word, or a length, is as
frequent under one label as under the other, and only the relation between words tells them apart.
In `polarity_item` the two members of a pair are the same words in another order.

The two splits share no noun, name, lexical verb, adjective or adverb: to do well on validation is
to have learnt the phenomenon, not the words that showed it.
"""

import random
import re
from collections import namedtuple
from collections.abc import Sequence
from typing import Any

FUNCTION_WORDS = frozenset(
    """
    the this these that those no so much very more as than not ever
    he him she her they them we us himself herself
    is are was were has have did will could should would
    what when where near behind beside and neither
    """.split()
)

# Each indented line is one cross: [a|b] goes by the frame and <a|b> by the filler, and a sentence
# is good when both take the same side. A line without [] is one pair, its good member to the left.
# Braces draw a word of a class; a 2 after the class draws another member of it.
_GRAMMAR = """
agreement_adjacent
  the [{noun.one}|{noun.many}] <is|are> {vi.doing}
  the [{noun.one}|{noun.many}] <was|were> {trait.plain}
agreement_phrase
  the [{noun.one}|{noun.many}] {near} the [{noun2.many}|{noun2.one}] <is|are> {vi.doing}
reflexive_agreement
  [{woman}|{man}] {social.did} <herself|himself>
determiner_noun
  {person} {vt.did} <this|these> [{thing.one}|{thing.many}]
  {person} {vt.did} <that|those> [{thing.one}|{thing.many}]
polarity_item
  <no|the> {noun.many} that <the|no> {noun2.many} {social.did} have ever {vi.done}
polarity_echo
  {name} will [|not ]{vi.do}, and <so|neither> will {name2}
  {name} has [|not ]{vi.done}, and <so|neither> has {name2}
auxiliary_form
  {person} [will|has] <{vi.do}|{vi.done}>
  {person} [is|will] <{vi.doing}|{vi.do}>
transitivity
  {person} <{vi.did}|{vt.did}>[| the {thing.one}]
filler_gap
  <what did|did> {name} {vt.do}[?| the {thing.one}?]
inversion
  [|{name2} {know.did} ]{when} <{could} {name}|{name} {could}> {vi.do}[?|]
comparative
  {name} is [{trait.more}|as {trait.plain}] <than|as> {name2}
  {name} is <much|very> [{trait.more} than {name2}|{trait.plain}]
pronoun_case
  [|{name} {social.did} ]<{he.subject}|{he.object}>[ {social.did} {name}|]
"""

# Any member of a class can take the place of another. The object of `vt` is a thing, that of
# `social` a person; `vi` has none. `know` goes before "when". The forms of a word are those of its
# type below; a verb without a fifth has its past there.
_SHARED = """
near: near behind beside
when: when where
could: could should would
he: he/him she/her they/them we/us
"""

_TRAIN = """
her_name: Mary Susan Anna Laura Emma Helen Julia Diana
his_name: John Peter David Thomas Robert Daniel Paul Eric
noun: teacher/teachers doctor/doctors student/students farmer/farmers lawyer/lawyers artist/artists
noun: neighbor/neighbors tourist/tourists child/children
female: girl/girls woman/women actress/actresses mother/mothers aunt/aunts
male: boy/boys man/men actor/actors father/fathers uncle/uncles
thing: cup/cups lamp/lamps basket/baskets chair/chairs blanket/blankets ladder/ladders clock/clocks
thing: bicycle/bicycles guitar/guitars umbrella/umbrellas
trait: tall/taller young/younger strong/stronger rich/richer famous/more_famous
trait: generous/more_generous
vi: sleep/sleeps/slept/sleeping laugh/laughs/laughed/laughing sneeze/sneezes/sneezed/sneezing
vi: smile/smiles/smiled/smiling wait/waits/waited/waiting complain/complains/complained/complaining
vi: cry/cries/cried/crying yawn/yawns/yawned/yawning kneel/kneels/knelt/kneeling
vi: swim/swims/swam/swimming/swum
vt: fetch/fetches/fetched/fetching damage/damages/damaged/damaging touch/touches/touched/touching
vt: grab/grabs/grabbed/grabbing repair/repairs/repaired/repairing
vt: destroy/destroys/destroyed/destroying obtain/obtains/obtained/obtaining
vt: handle/handles/handled/handling
social: help/helps/helped/helping praise/praises/praised/praising defend/defends/defended/defending
social: blame/blames/blamed/blaming describe/describes/described/describing
social: interrupt/interrupts/interrupted/interrupting
know: know/knows/knew/knowing/known remember/remembers/remembered/remembering
know: forget/forgets/forgot/forgetting/forgotten
"""

_VALIDATION = """
her_name: Alice Sarah Linda Nancy Karen Olivia
his_name: James Michael Henry Steven Kevin Andrew
noun: nurse/nurses pilot/pilots baker/bakers soldier/soldiers guest/guests poet/poets
noun: scientist/scientists mechanic/mechanics
female: sister/sisters daughter/daughters lady/ladies queen/queens niece/nieces
male: brother/brothers son/sons monk/monks king/kings nephew/nephews
thing: table/tables vase/vases camera/cameras bucket/buckets drum/drums radio/radios mirror/mirrors
thing: wallet/wallets
trait: short/shorter brave/braver smart/smarter weak/weaker popular/more_popular
trait: ambitious/more_ambitious
vi: cough/coughs/coughed/coughing snore/snores/snored/snoring giggle/giggles/giggled/giggling
vi: tremble/trembles/trembled/trembling shiver/shivers/shivered/shivering
vi: blush/blushes/blushed/blushing weep/weeps/wept/weeping sob/sobs/sobbed/sobbing
vt: locate/locates/located/locating remove/removes/removed/removing
vt: conceal/conceals/concealed/concealing discover/discovers/discovered/discovering
vt: acquire/acquires/acquired/acquiring retrieve/retrieves/retrieved/retrieving
vt: fix/fixes/fixed/fixing
social: criticize/criticizes/criticized/criticizing encourage/encourages/encouraged/encouraging
social: protect/protects/protected/protecting forgive/forgives/forgave/forgiving/forgiven
social: contradict/contradicts/contradicted/contradicting amuse/amuses/amused/amusing
know: guess/guesses/guessed/guessing realize/realizes/realized/realizing
know: learn/learns/learned/learning
"""

_Noun = namedtuple("_Noun", "one many")
_Verb = namedtuple("_Verb", "do does did doing done")
_Trait = namedtuple("_Trait", "plain more")
_Pronoun = namedtuple("_Pronoun", "subject object")
_TYPES = {"trait": _Trait, "he": _Pronoun}

_SPLITS = (("train", _TRAIN, 134), ("validation", _VALIDATION, 42))


def _read_rules() -> dict[str, list[tuple[str, str]]]:
    """Return the (good, bad) templates of each phenomenon."""
    rules: dict[str, list[tuple[str, str]]] = {}
    for line in _GRAMMAR.strip().splitlines():
        if not line.startswith(" "):
            pairs = rules.setdefault(line, [])
            continue
        for frame in (1, 2) if "[" in line else (1,):
            template = re.sub(r"\[(.*?)\|(.*?)\]", rf"\{frame}", line.strip())
            left, right = (re.sub(r"<(.*?)\|(.*?)>", rf"\{side}", template) for side in (1, 2))
            pairs.append((left, right) if frame == 1 else (right, left))
    return rules


_RULES = _read_rules()
PHENOMENA = tuple(_RULES)


def _read_lexicon(table: str) -> dict[str, list[Any]]:
    """Return the members of each class: words, or tuples of the forms of a word."""
    lexicon: dict[str, list[Any]] = {}
    for line in table.split("\n"):
        kind, _, words = line.partition(": ")
        for word in words.split():
            forms = [form.replace("_", " ") for form in word.split("/")]
            if len(forms) == 4:
                forms.append(forms[2])
            of_type = _TYPES.get(kind, _Noun if len(forms) == 2 else _Verb)
            lexicon.setdefault(kind, []).append(of_type(*forms) if len(forms) > 1 else word)
    return lexicon


def _draw(lexicon: dict[str, list[Any]], rng: random.Random) -> dict[str, Any]:
    """Draw two members of every class, and the noun phrases made of them."""

    def pick(options: Sequence[Any]) -> Any:
        # Only random() is promised to give the same numbers in every version of Python.
        return options[int(rng.random() * len(options))]

    drawn = {}
    for kind, members in lexicon.items():
        drawn[kind] = pick(members)
        drawn[f"{kind}2"] = pick([member for member in members if member != drawn[kind]])
    woman, man, noun = drawn["female"], drawn["male"], drawn["noun"]
    return drawn | {
        "woman": pick([drawn["her_name"], f"the {woman.one}"]),
        "man": pick([drawn["his_name"], f"the {man.one}"]),
        "person": pick([drawn["name"], f"the {noun.one}"]),
    }


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:] + ("" if words.endswith("?") else ".")


def generate() -> dict[str, list[dict[str, Any]]]:
    """Return the rows of both splits: the same on every machine, each sentence only once."""
    splits = {}
    seen: set[str] = set()
    for seed, (split, table, pairs_each) in enumerate(_SPLITS):
        rng = random.Random(seed)
        lexicon = _read_lexicon(_SHARED + table)
        lexicon["name"] = lexicon["her_name"] + lexicon["his_name"]
        pairs: list[tuple[str, str, str]] = []
        for phenomenon, rules in _RULES.items():
            # Turns, not chance, so that the two sides of a cross are equally frequent.
            turn = 0
            while turn < pairs_each:
                words = _draw(lexicon, rng)
                good, bad = (_sentence(side.format_map(words)) for side in rules[turn % len(rules)])
                if seen.isdisjoint((good, bad)):
                    seen.update((good, bad))
                    pairs.append((phenomenon, bad, good))
                    turn += 1
        members = [(pair, label) for pair in range(len(pairs)) for label in (0, 1)]
        members.sort(key=lambda _: rng.random())
        splits[split] = [
            {
                "sentence": pairs[pair][1 + label],
                "label": label,
                "idx": idx,
                "phenomenon": pairs[pair][0],
                "pair": pair,
            }
            for idx, (pair, label) in enumerate(members)
        ]
    return splits

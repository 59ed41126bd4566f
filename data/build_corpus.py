"""Build the bundled corpus from its paradigms, lexicon and hand-written sentences.

    python data/build_corpus.py              write the three corpus files and sources.tsv
    python data/build_corpus.py --check      say whether the files on disk are current
    python data/build_corpus.py --show NAME  print what one paradigm yields, for its author

The notation of the paradigm files is explained in data/README.md. Nothing here draws
from a random generator: every choice is a hash of what is being chosen, so the files
come out the same on every machine, and editing a frame leaves the other sentences as they
were.
"""

import argparse
import hashlib
import re
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import count
from pathlib import Path

HERE = Path(__file__).resolve().parent
TRAIN_ROWS = 8950
DEV_ROWS = 540
UNACCEPTABLE_SHARE = 0.34
HELD_OUT_FRAMES = 0.06  # share of the frames of a paradigm that only the dev file uses
HELD_OUT_WORDS = 0.12  # share of the words of a class that only the dev file uses
NEW_FRAME_ROWS = 0.3  # share of the dev rows that come from held-out frames
CONTEXT_SHARE = 0.22  # share of the plain statements that are set in a context
FILES = ("in_domain_train.tsv", "in_domain_dev.tsv", "out_of_domain_dev.tsv")

NOUN_FORMS = ("sg", "pl")
VERB_FORMS = ("base", "s", "past", "pp", "ing")
ADJECTIVE_FORMS = ("positive", "comparative", "superlative")
PRONOUNS = {
    "f": {"he": "she", "him": "her", "his": "her", "himself": "herself"},
    "m": {"he": "he", "him": "him", "his": "his", "himself": "himself"},
}


class ParadigmError(ValueError):
    """A paradigm or lexicon line that cannot be read; the message says where and why."""


def draw(number_of_choices, *key):
    """Index below `number_of_choices`, fixed by `key` alone."""
    digest = hashlib.sha256("\x1f".join(map(str, key)).encode()).digest()
    return int.from_bytes(digest[:8], "big") % number_of_choices


# --- lexicon -----------------------------------------------------------------


@dataclass(frozen=True)
class Word:
    """One lexicon entry: its inflected forms, its classes, whether it is held out for dev."""

    forms: dict
    classes: tuple
    held_out: bool

    @property
    def lemma(self):
        return next(iter(self.forms.values()))


def read_lexicon(folder=HERE / "lexicon"):
    """Map each class name to its words. Raises ParadigmError for a malformed line."""
    form_names = {
        "nouns.tsv": NOUN_FORMS,
        "verbs.tsv": VERB_FORMS,
        "adjectives.tsv": ADJECTIVE_FORMS,
        "adverbs.tsv": ("base",),
        "names.tsv": ("base",),
    }
    lexicon = defaultdict(list)
    for file_name, names in form_names.items():
        for number, line in enumerate((folder / file_name).read_text("utf-8").splitlines(), 1):
            if not line or line.startswith("#"):
                continue
            classes, *forms = line.split("\t")
            if len(forms) != len(names) or not all(forms):
                raise ParadigmError(
                    f"{file_name}, line {number}: expected the classes and {len(names)} "
                    f"form(s) ({', '.join(names)}), separated by tabs: {line!r}"
                )
            held_out = draw(1000, "held-out word", forms[0]) < 1000 * HELD_OUT_WORDS
            word = Word(dict(zip(names, forms)), tuple(classes.split()), held_out)
            for name in word.classes:
                lexicon[name].append(word)
    return lexicon


# --- paradigms ---------------------------------------------------------------


@dataclass(frozen=True)
class Frame:
    """One line of a paradigm: a template with exactly one contrast."""

    template: str
    paradigm: str
    where: str
    held_out: bool


@dataclass
class Paradigm:
    """A named contrast: what it is about, its phenomenon, its frames, which sides are used."""

    name: str
    phenomenon: str
    about: str
    frames: list
    acceptable_only: bool = False
    training_only: bool = False


@dataclass(frozen=True)
class Sentence:
    """A row of the corpus; `frame` says where the frame it was made from stands."""

    source: str
    label: int
    text: str
    frame: str

    def row(self):
        return f"{self.source}\t{self.label}\t{'' if self.label else '*'}\t{self.text}\n"


def read_paradigms(folder=HERE / "paradigms"):
    """Read every paradigm file, in the order of their names.

    Raises ParadigmError, with file and line, where a line does not fit the notation.
    """
    paradigms = []
    seen_names, seen_templates = set(), set()
    for path in sorted(folder.glob("*.txt")):
        phenomenon, first = None, len(paradigms)
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            where = f"{path.name}, line {number}"
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            keyword, _, rest = line.partition(" ")
            if keyword == "phenomenon":
                phenomenon = rest.strip()
            elif keyword == "paradigm":
                if not phenomenon:
                    raise ParadigmError(f"{where}: no phenomenon stands above this paradigm: {line!r}")
                if rest in seen_names:
                    raise ParadigmError(f"{where}: a second paradigm is named {rest!r}")
                seen_names.add(rest)
                paradigms.append(Paradigm(rest.strip(), phenomenon, "", []))
            elif len(paradigms) == first:
                raise ParadigmError(f"{where}: no paradigm stands above this line: {line!r}")
            elif keyword == "about":
                paradigms[-1].about = rest.strip()
            elif line == "acceptable only":
                paradigms[-1].acceptable_only = True
            elif line == "training only":
                paradigms[-1].training_only = True
            else:
                if line in seen_templates:
                    raise ParadigmError(f"{where}: this frame stands twice: {line!r}")
                seen_templates.add(line)
                paradigms[-1].frames.append((line, where))
    for paradigm in paradigms:
        # The frames with the smallest hashes are held out, so adding a frame moves few.
        ranked = sorted(paradigm.frames, key=lambda frame: draw(2**60, "held-out frame", frame[0]))
        number = 0 if paradigm.training_only else max(1, round(HELD_OUT_FRAMES * len(ranked)))
        held_out = {template for template, _ in ranked[:number]}
        paradigm.frames = [
            Frame(template, paradigm.name, where, template in held_out)
            for template, where in paradigm.frames
        ]
    return paradigms


CONTRAST = re.compile(r"\[([^\[\]]*)\]")
NAMED_CHOICE = re.compile(r"\{(\w+):([^{}]*)\}")
CHOICE = re.compile(r"\{([^{}]*\|[^{}]*)\}")
CHOICE_REFERENCE = re.compile(r"\{(\w+)\}")
SLOT = re.compile(r"<([a-z_]+)((?:\.[a-z]+)*)(?:=([a-z]\w*))?>")


def split_alternatives(text):
    """Split at the bars that stand outside braces."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "{") - (character == "}")
        if character == "|" and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def pick(options, held_out, *key):
    """One of `options`. Of three or more, one is kept for dev fillings, the rest for training."""
    if len(options) >= 3:
        kept = draw(len(options), "held-out choice", *options)
        options = [options[kept]] if held_out else options[:kept] + options[kept + 1 :]
    return options[draw(len(options), *key)]


def fill(frame, filling, lexicon, held_out):
    """Acceptable and unacceptable texts of one filling of a frame.

    `filling` numbers the choice of words; `held_out` says from which share of the
    lexicon they come. All returned texts share every choice but the contrast.
    Raises ParadigmError for a frame that does not fit the notation.
    """
    key = (frame.template, filling)
    contrasts = CONTRAST.findall(frame.template)
    if len(contrasts) != 1:
        raise ParadigmError(f"{frame.where}: a frame has exactly one [contrast]: {frame.template!r}")

    named = {
        name: pick(split_alternatives(body), held_out, *key, "named", name)
        for name, body in NAMED_CHOICE.findall(frame.template)
    }
    text = NAMED_CHOICE.sub(lambda match: named[match[1]], frame.template)

    def refer(match):
        if match[1] not in named:
            raise ParadigmError(f"{frame.where}: {{{match[1]}}} is used but never named")
        return named[match[1]]

    text = CHOICE_REFERENCE.sub(refer, text)
    position = count()

    def choose(match):
        return pick(split_alternatives(match[1]), held_out, *key, "choice", next(position))

    text = CHOICE.sub(choose, text)
    words, taken, slot_number = {}, set(), count()

    def resolve(match):
        name, features, label = match[1], match[2].split(".")[1:], match[3]
        if name not in lexicon:
            if name not in words:
                raise ParadigmError(f"{frame.where}: no class or label {name!r} in {match[0]}")
            return inflect(words[name], features, frame)
        genders = [feature for feature in features if feature in PRONOUNS]
        candidates = [
            word
            for word in lexicon[name]
            if word.held_out == held_out
            and word.lemma not in taken
            and all(gender in word.classes for gender in genders)
        ]
        if not candidates:
            raise ParadigmError(f"{frame.where}: no word left for {match[0]}")
        word = candidates[draw(len(candidates), *key, "slot", next(slot_number), name)]
        taken.add(word.lemma)
        if label:
            words[label] = word
        return inflect(word, [f for f in features if f not in PRONOUNS], frame)

    text = SLOT.sub(resolve, text)
    if re.search(r"[<>{}]", text):
        raise ParadigmError(f"{frame.where}: left over after filling: {text!r}")
    before, body, after = re.split(r"\[([^\[\]]*)\]", text)
    acceptable, unacceptable = [], []
    for alternative in split_alternatives(body):
        marked = alternative.lstrip().startswith("*")
        (unacceptable if marked else acceptable).append(
            tidy(before + alternative.lstrip().removeprefix("*") + after)
        )
    if not acceptable or not unacceptable:
        raise ParadigmError(f"{frame.where}: the contrast needs a plain and a *starred side")
    return acceptable, unacceptable


def check_frames(paradigms, lexicon):
    """Raise ParadigmError for a frame that does not fit the notation, even if none is drawn from it."""
    for frame in (frame for paradigm in paradigms for frame in paradigm.frames):
        template = frame.template
        for name, _, _ in SLOT.findall(template):  # also those in choices that no filling takes
            if name not in lexicon and f"={name}>" not in template:
                raise ParadigmError(f"{frame.where}: no class or label {name!r} in {template!r}")
        acceptable, unacceptable = (
            {" ".join(normalise(text)) for text in side} for side in fill(frame, 0, lexicon, frame.held_out)
        )
        if acceptable & unacceptable:
            raise ParadigmError(f"{frame.where}: a plain and a starred side are the same: {template!r}")


def inflect(word, features, frame):
    """The form of `word` that `features` ask for; its first form when they ask for none."""
    if not features:
        return word.lemma
    (feature,) = features
    if feature in word.forms:
        return word.forms[feature]
    for gender, pronouns in PRONOUNS.items():
        if gender in word.classes and feature in pronouns:
            return pronouns[feature]
    raise ParadigmError(f"{frame.where}: {word.lemma!r} has no form {feature!r}")


def tidy(text):
    """Single spaces, none before punctuation, a capital first letter, a(n) resolved."""
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r" ([,.?!;:])", r"\1", text)
    text = re.sub(
        r"\b([Aa])\(n\) (\w+)",
        lambda match: f"{match[1]}{'n' if takes_an(match[2]) else ''} {match[2]}",
        text,
    )
    return text[:1].upper() + text[1:]


def takes_an(word):
    word = word.lower()
    if word.startswith(("hour", "honest", "heir", "honor", "honour")):
        return True
    if re.match(r"uni(?!n|m|dent)|unanim|us[eu]|ut[eio]|eu|ew|one(?!r)|ukulele", word):
        return False
    return word[0] in "aeiou"


# --- the corpus --------------------------------------------------------------


def normalise(text):
    """What makes two sentences the same: their words, without case and punctuation."""
    return re.sub(r"[^a-z0-9' ]+", " ", text.lower()).split()


def neighbours(text):
    """The sentence and each version of it with one word deleted.

    Two sentences that share a neighbour differ in one word at most.
    """
    words = normalise(text)
    return {" ".join(words)} | {" ".join(words[:i] + words[i + 1 :]) for i in range(len(words))}


def build_in_domain(paradigms, lexicon, contexts):
    """The in-domain train and dev sentences: two lists of Sentence.

    All dev sentences use the held-out words; some come from held-out frames as well, the
    others from frames that training shows with other words. Paradigms for training only
    have none.
    """
    trained = {p.name: [f for f in p.frames if not f.held_out] for p in paradigms}
    held_out = {p.name: [f for f in p.frames if f.held_out] for p in paradigms}
    train = build_part(paradigms, trained, TRAIN_ROWS, lexicon, contexts, False, set(), set())
    taken = {" ".join(normalise(sentence.text)) for sentence in train}
    forbidden = set().union(*(neighbours(sentence.text) for sentence in train))
    contrasted = {sentence.frame for sentence in train if not sentence.label}
    contrasted |= {f.where for p in paradigms if p.acceptable_only for f in p.frames}
    paradigms = [p for p in paradigms if not p.training_only]
    trained = {name: [f for f in frames if f.where in contrasted] for name, frames in trained.items()}
    new_frame_rows = round(NEW_FRAME_ROWS * DEV_ROWS)
    dev = build_part(paradigms, held_out, new_frame_rows, lexicon, contexts, True, taken, forbidden)
    known_frame_rows = DEV_ROWS - new_frame_rows
    dev += build_part(paradigms, trained, known_frame_rows, lexicon, contexts, True, taken, forbidden)
    return shuffle(train), shuffle(dev)


def shuffle(sentences):
    """The sentences in an order that tells nothing, and is the same every time."""
    return sorted(sentences, key=lambda sentence: draw(2**60, "order", sentence.text))


def build_part(paradigms, frames, rows, lexicon, contexts, held_out, taken, forbidden):
    """`rows` sentences from the `frames` of each paradigm (a dict)."""
    pairs, singles = quotas(paradigms, frames, rows)
    sentences, owed_pairs, owed_singles = [], 0, 0
    for paradigm in paradigms:  # what one paradigm cannot give, the next one does
        name = paradigm.name
        wanted_pairs = 0 if paradigm.acceptable_only else pairs[name] + owed_pairs
        made, missing_pairs, owed_singles = yield_paradigm(
            name, frames[name], wanted_pairs, singles[name] + owed_singles,
            lexicon, contexts, held_out, taken, forbidden,
        )
        if not paradigm.acceptable_only:
            owed_pairs = missing_pairs
        sentences += made
    if owed_pairs or owed_singles:
        raise ParadigmError(
            f"{owed_pairs} pairs and {owed_singles} single sentences are missing after the last "
            f"paradigm, {paradigms[-1].name}: add frames, slots or choices to the paradigms"
        )
    return sentences


def quotas(paradigms, frames, rows):
    """How many pairs and how many single acceptable sentences each paradigm gives.

    Each phenomenon has the same share of acceptable sentences, so that the phenomenon does
    not tell the label.
    """
    weights = {p.name: 0 if p.acceptable_only else len(frames[p.name]) for p in paradigms}
    pairs = share_out(round(UNACCEPTABLE_SHARE * rows), weights)
    of_phenomenon = Counter()
    for paradigm in paradigms:
        of_phenomenon[paradigm.phenomenon] += pairs[paradigm.name]
    singles = {}
    for phenomenon, number in share_out(rows - 2 * sum(pairs.values()), of_phenomenon).items():
        members = {p.name: len(frames[p.name]) for p in paradigms if p.phenomenon == phenomenon}
        singles |= share_out(number, members) if number else dict.fromkeys(members, 0)
    return pairs, singles


def share_out(total, weights):
    """Whole numbers in proportion to `weights` that sum to `total`."""
    whole, running, result = sum(weights.values()), 0, {}
    for name, weight in weights.items():
        result[name] = round((running + weight) * total / whole) - round(running * total / whole)
        running += weight
    return result


def yield_paradigm(name, frames, pairs, singles, lexicon, contexts, held_out, taken, forbidden):
    """Up to `pairs` unacceptable sentences with their twins and `singles` acceptable ones.

    Returns the sentences, and how many pairs and singles the frames could not give.
    """
    sentences = []
    names = {word.lemma for word in lexicon["name"]}
    order = sorted(frames, key=lambda frame: draw(2**60, "frame order", frame.template))
    for filling in range(40):
        for turn, frame in enumerate(order):
            if not pairs and not singles:
                return sentences, 0, 0
            # Alternate, so that the paired and the single rows come from all frames.
            wants_pair = pairs and (not singles or (turn + filling) % 2 == 0)
            acceptable, unacceptable = fill(frame, filling, lexicon, held_out)
            key = (frame.template, filling)
            good = acceptable[draw(len(acceptable), *key, "good")]
            bad = unacceptable[draw(len(unacceptable), *key, "bad")]
            good, bad = set_in_context((good, bad), contexts, held_out, names, key)
            chosen = [(1, good), (0, bad)] if wants_pair else [(1, good)]
            texts = {" ".join(normalise(text)) for _, text in chosen}
            if taken & texts or len(texts) < len(chosen):
                continue
            if any(neighbours(text) & forbidden for _, text in chosen):
                continue
            taken |= texts
            sentences += [Sentence(name, label, text, frame.where) for label, text in chosen]
            pairs, singles = (pairs - 1, singles) if wants_pair else (pairs, singles - 1)
    return sentences, pairs, singles


def read_contexts(path=HERE / "contexts.txt"):
    """The contexts that a statement can be set in: (before, after, is held out) each."""
    contexts, lines = [], []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if line.count("___") != 1:
            raise ParadigmError(f"{path.name}, line {number}: expected one ___: {line!r}")
        lines.append(line)
    # Every fourth by length, so that the held-out contexts are as long as the others.
    for rank, line in enumerate(sorted(lines, key=lambda line: (len(line), line))):
        contexts.append((*line.split("___"), rank % 4 == 2))
    return contexts


STATEMENT_STARTS = set(
    "the a an this that these those my your her his our their i you he she it we they there "
    "some many most every each both no nobody everybody somebody nothing everyone someone".split()
)


def set_in_context(texts, contexts, held_out, names, key):
    """Both `texts` with the same words around them, for a share of the plain statements.

    `names` are the words that keep their capital letter inside a sentence.
    """
    first = texts[0].split()[0]
    is_statement = texts[0].endswith(".") and '"' not in texts[0]
    # Dev gets fewer, since the rule against near-twins passes more of the longer sentences.
    share = CONTEXT_SHARE / 2 if held_out else CONTEXT_SHARE
    is_plain = first.lower() in STATEMENT_STARTS or first in names
    if not (is_statement and is_plain) or draw(100, *key, "in context") >= 100 * share:
        return texts
    choices = [context for context in contexts if context[2] == held_out]
    before, after, _ = choices[draw(len(choices), *key, "context")]
    result = []
    for text in texts:
        word = text.split()[0]
        if before and word not in names and word != "I" and not word.startswith("I'"):
            text = text[0].lower() + text[1:]
        result.append(before + (text.removesuffix(".") + after if after else text))
    return result


def read_out_of_domain(folder=HERE / "out_of_domain"):
    """The hand-written sentences: one file a style; phenomenon, mark and sentence a line."""
    sentences, phenomena = [], {}
    for path in sorted(folder.glob("*.tsv")):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            if not line or line.startswith("#"):
                continue
            columns = line.split("\t")
            if len(columns) != 3 or columns[1] not in ("", "*") or not (columns[0] and columns[2]):
                raise ParadigmError(
                    f"{path.name}, line {number}: expected phenomenon, * or nothing, sentence: {line!r}"
                )
            phenomenon, mark, text = columns
            source = f"{path.stem}-{phenomenon.replace(' ', '-')}"
            phenomena[source] = phenomenon
            sentences.append(Sentence(source, int(mark == ""), text, f"{path.name}, line {number}"))
    return shuffle(sentences), phenomena


def build():
    """All files of the corpus: a dict from file name to text."""
    lexicon, paradigms = read_lexicon(), read_paradigms()
    check_frames(paradigms, lexicon)
    train, dev = build_in_domain(paradigms, lexicon, read_contexts())
    out_of_domain, phenomena = read_out_of_domain()
    table = ["source\tpart\tstyle\tphenomenon\tabout\n"]
    table += [f"{p.name}\tin-domain\tparadigm\t{p.phenomenon}\t{p.about}\n" for p in paradigms]
    table += [
        f"{source}\tout-of-domain\t{source.removesuffix('-' + name.replace(' ', '-'))}\t{name}\t\n"
        for source, name in sorted(phenomena.items())
    ]
    texts = ["".join(s.row() for s in part) for part in (train, dev, out_of_domain)]
    return dict(zip(FILES, texts)) | {"sources.tsv": "".join(table)}


def show(name, fillings=2):
    """Print the sentences of one paradigm, or of every paradigm of one file."""
    lexicon = read_lexicon()
    found = False
    for paradigm in read_paradigms():
        file_name = paradigm.frames[0].where.partition(",")[0] if paradigm.frames else ""
        if name not in (paradigm.name, file_name):
            continue
        found = True
        print(f"\n{paradigm.name} ({paradigm.phenomenon}): {paradigm.about}")
        for frame in paradigm.frames:
            for filling in range(fillings):
                acceptable, unacceptable = fill(frame, filling, lexicon, frame.held_out)
                print("   " + "\n   ".join(acceptable), *(f"  *{text}" for text in unacceptable), sep="\n")
    if not found:
        sys.exit(f"build_corpus: no paradigm and no paradigm file is named {name!r}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare only, write nothing")
    parser.add_argument("--show", metavar="NAME", help="a paradigm or a paradigm file")
    arguments = parser.parse_args()
    if arguments.show:
        return show(arguments.show)
    files = build()
    stale = [
        name for name, text in files.items()
        if not (HERE / name).exists() or (HERE / name).read_bytes() != text.encode()
    ]
    if arguments.check:
        if stale:
            sys.exit(f"not current: {', '.join(stale)}; run: python data/build_corpus.py")
        print("The corpus files are current.")
        return
    for name, text in files.items():
        (HERE / name).write_bytes(text.encode())
        labels = Counter(line.split("\t")[1] for line in text.splitlines())
        print(f"{name}: {text.count(chr(10)):,} rows", end="")
        print(f", {labels['1'] / text.count(chr(10)):.1%} acceptable" if name in FILES else "")


if __name__ == "__main__":
    try:
        main()
    except ParadigmError as error:
        sys.exit(f"build_corpus: {error}")

"""Which encoding a text file is in, for files that do not say.

UTF-8 and UTF-16 prove themselves. Among the older encodings only the text can tell: Big5 and
GB18030 share most byte pairs, and every file is valid Latin-1. We count the characters that
Chinese text is made of, and accented letters inside words; charset-normalizer, which is weak on
short texts, is asked about the rest. Called by the readers of text files.
"""

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

from labkit.data.findings import Finding, note
from labkit.errors import DataError

BLOCK_BYTES = 2**20
EVIDENCE_BYTES = 2**18
MAX_LINE_BYTES = 2**26

_BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it starts with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

_BINARY = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"%PDF": "a PDF document",
    b"\x7fELF": "a program",
    b"PK\x03\x04": "a zip archive or an Excel workbook; name a workbook .xlsx, unpack an archive",
    b"\xd0\xcf\x11\xe0": "an old Office file; name a workbook .xls",
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"PAR1": "a Parquet file; name it .parquet",
    b"SQLite format 3": "a database",
}

# The most frequent characters of Chinese, traditional and simplified: about half of any text.
_FREQUENT = frozenset(
    "的一是不了在人有我他這这個个們们中來来上大為为和國国地到以說说時时要就出會会可也你對对生能而子那得"
    "於于著着下自之年過过發发後后作裡里用道行所然家種种事成方多經经麼么去法學学如都同現现當当沒没動动面"
    "起看定天分還还進进好小部其些主樣样理心她本前開开但因只從从想實实日軍军者意無无力它與与長长把機机十"
    "民第公此已工使情明性知全三又關关點点正業业外將将兩两高間间由問问很最重並并物手應应戰战向頭头文體体"
    "政美相見见被利什二等產产或新己制身果加西斯月話话合回特代內内信表化老給给世位次度門门任常先海通教兒"
    "儿原東东聲声提立及比員员解水名真論论處处走義义各入幾几口認认條条平系氣气題题活爾尔更別别打女變变四"
    "神總总何電电數数安少報报才結结反受目太量再感建務务做接必場场件計计管期市直德資资命山金指克許许統统"
    "區区保至隊队形社便空決决治展馬马科司五基眼書书非則则聽听白卻却界達达光放強强即像難难且權权思王象完"
    "設设式色路記记南品住告類类求據据程北邊边死張张該该交規规萬万取拉格望覺觉術术領领共確确傳传師师觀观"
    "清今切院讓让識识候帶带導导爭争運运請请"
)
_BIG5 = ("big5", "cp950", "big5hkscs")
_TYPOGRAPHIC = frozenset("“”„‘’‚–—…€")


@dataclass(frozen=True, kw_only=True)
class FoundEncoding:
    """The name of a Python codec, and whether it is certain."""

    name: str
    evidence: str | None = None
    """Where the encoding was guessed: the first letters that tell a person if it is right."""

    @property
    def errors(self) -> str:
        """How to open the file: a damaged byte spoils its own row only."""
        return "strict" if self.name.startswith(("utf-16", "utf-32")) else "surrogateescape"

    def findings(self) -> list[Finding]:
        if self.evidence is None:
            return []
        message = f"The file is not in UTF-8; it was read as {self.name}: {self.evidence!r}."
        fix = "If these letters look wrong, open the table and save it as 'CSV UTF-8'."
        return [note("guessed-encoding", message, fix=fix)]


def find_encoding(path: Path) -> FoundEncoding:
    """The encoding of a text file. Raises DataError for a file that holds no text."""
    with path.open("rb") as file:
        start = file.read(BLOCK_BYTES)
    for mark, name in _BOMS.items():
        if start.startswith(mark):
            return FoundEncoding(name=name)
    _refuse_known_binary(path, start)
    if wide := _utf16_without_mark(start):
        return FoundEncoding(name=wide)
    _refuse_control_bytes(path, start)
    evidence = _evidence(path)
    if not evidence or _mostly_utf8(evidence):
        return FoundEncoding(name="utf-8")
    name = guess_old_encoding(evidence)
    if name in _BIG5:
        name = next((name for name in _BIG5 if _decodes(path, name)), "big5hkscs")
    elif name == "cp1252" and not _decodes(path, name):
        name = "latin-1"
    return FoundEncoding(name=name, evidence=_first_letters(evidence.decode(name, "replace")))


def guess_old_encoding(raw: bytes) -> str:
    """The likeliest encoding of text that is not UTF-8: 'big5', 'gb18030', 'cp1252', …"""
    if _western_share(raw) >= 0.6:
        return "cp1252"
    shares = {name: _chinese_shares(raw, name) for name in ("big5hkscs", "gb18030")}
    chinese = max(shares, key=lambda name: sum(shares[name]))
    chinese_name = "big5" if chinese == "big5hkscs" else chinese
    common, frequent = shares[chinese]
    if frequent >= 0.25 or (frequent >= 0.1 and common >= 0.95):
        return chinese_name  # wrong readings, of Japanese and Korean too, stay below these
    if not re.search(rb"[\x80-\xff]{2}", raw):
        return "cp1252"  # single signs among ASCII, such as '25 °C'
    from charset_normalizer import from_bytes

    best = from_bytes(raw).best()
    if best is None or best.encoding == "ascii":
        return "cp1252"
    is_chinese = best.encoding in (*_BIG5, "gb2312", "gbk", "gb18030", "hz")
    return chinese_name if is_chinese else best.encoding


def _chinese_shares(raw: bytes, name: str) -> tuple[float, float]:
    """The shares of common and of frequent characters among those that are not ASCII.

    Big5 and GB 2312 both put the common characters first: lead bytes A4 to C6, and B0 to D7;
    A1 to A3 are punctuation.
    """
    codec, low, high = ("gb2312", 0xB0, 0xD7) if name == "gb18030" else ("big5", 0xA4, 0xC6)
    letters = [letter for letter in raw.decode(name, "replace") if not letter.isascii()]
    leads = [letter.encode(codec, "ignore")[:1] for letter in letters]
    common = sum(lead != b"" and (low <= lead[0] <= high or lead[0] <= 0xA3) for lead in leads)
    frequent = sum(letter in _FREQUENT for letter in letters)
    return common / len(letters), frequent / len(letters)


def _western_share(raw: bytes) -> float:
    """The share of accented letters inside words, among what is not ASCII: 'für', 'déjà'."""
    text = f" {raw.decode('cp1252', 'replace')} "
    found = [place for place, letter in enumerate(text) if not letter.isascii()]

    def is_western(place: int) -> bool:
        around = text[place - 1] + text[place + 1]
        in_word = any(letter.isascii() and letter.isalpha() for letter in around)
        return text[place] in _TYPOGRAPHIC or (text[place].isalpha() and in_word)

    return sum(map(is_western, found)) / len(found)


def _mostly_utf8(raw: bytes) -> bool:
    """Whether at least nine tenths of what is not ASCII is UTF-8: then the rest is damage."""
    letters = [letter for letter in raw.decode("utf-8", "replace") if not letter.isascii()]
    return letters.count("\ufffd") <= len(letters) / 10


def _utf16_without_mark(start: bytes) -> str | None:
    """UTF-16 where half of the bytes are NUL (Latin letters), or some are and it is no UTF-8."""
    if start.count(0) < max(1, start.count(10)):
        return None
    if start.count(0) < len(start) / 5 and _mostly_utf8(start):
        return None
    for name, newline in (("utf-16-le", b"\n\0"), ("utf-16-be", b"\0\n")):
        text = start[: len(start) // 2 * 2].decode(name, "replace")
        if newline in start and sum(map(_is_strange, text)) <= len(text) / 100:
            return name
    return None


def _is_strange(letter: str) -> bool:
    return letter == "\ufffd" or (letter < " " and letter not in "\t\r\n")


def _refuse_known_binary(path: Path, start: bytes) -> None:
    for magic, kind in _BINARY.items():
        if start.startswith(magic):
            raise DataError(f"{path.name} is no table of text: it is {kind}.")


def _refuse_control_bytes(path: Path, start: bytes) -> None:
    """A damaged file may hold a few; a program or a picture is full of them."""
    num_control = len(start) - len(start.translate(None, bytes({*range(32)} - set(b"\t\n\v\f\r"))))
    if num_control > len(start) / 20:
        raise DataError(f"{path.name} is no table of text: it is full of control characters.")


def _evidence(path: Path) -> bytes:
    """The first lines that are not ASCII, wherever they lie in the file."""
    evidence = bytearray()
    with path.open("rb") as file:
        while len(evidence) < EVIDENCE_BYTES and (line := file.readline(MAX_LINE_BYTES)):
            if len(line) == MAX_LINE_BYTES:
                raise DataError(f"{path.name} has a line of more than 64 MB; it is no table.")
            if not line.isascii():
                evidence += line
    return bytes(evidence)


def _decodes(path: Path, name: str) -> bool:
    """Whether the whole file is valid in this encoding."""
    decoder = codecs.getincrementaldecoder(name)()
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _first_letters(text: str) -> str:
    """Some words around the first letters that are not ASCII."""
    place = next((place for place, letter in enumerate(text) if not letter.isascii()), 0)
    return text[place : place + 24].split("\n")[0].strip()

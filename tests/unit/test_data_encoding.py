"""Tables in the encodings that people have, down to a few short rows."""

from pathlib import Path

import pytest

from labkit.data.load import Table, load_table
from labkit.data.text_encoding import guess_old_encoding
from labkit.errors import DataError

TAIWAN = """text,label
我的卡片不見了,掛失
提款機吃掉了我的卡,提款
為什麼匯款失敗,匯款
匯款要多久才會到帳,匯款
手續費怎麼算,費用
可以提高額度嗎,額度
忘記密碼怎麼辦,密碼
想改聯絡電話,資料
外幣帳戶怎麼開,開戶
分行幾點關門,分行
"""
HONG_KONG = """text,label
唔該幫我睇吓張卡喺邊度,查詢
佢哋嘅服務好差,投訴
啲嘢壞咗冇人理,投訴
"""
CHINA = """text,label
我的卡丢了怎么办,挂失
取款机吞了我的卡,取款
为什么汇款失败,汇款
汇款多久能到账,汇款
手续费怎么算,费用
可以提高额度吗,额度
忘记密码怎么办,密码
想改联系电话,资料
外币账户怎么开,开户
网点几点关门,网点
"""
GERMAN = "Text;Art\nMeine Karte ist weg, bitte schließen;Sperre\nÄnderung der Gebühr;Gebühr\n"
FRENCH = "texte;type\nJ’ai perdu ma carte « bleue »;perte\nVirement échoué à l’étranger;échec\n"


def load(folder: Path, content: bytes) -> Table:
    path = folder / "table.csv"
    path.write_bytes(content)
    return load_table(path)


@pytest.mark.parametrize(
    ("text", "encoding", "found"),
    [
        (TAIWAN, "utf-8", "utf-8"),
        (TAIWAN, "utf-8-sig", "utf-8-sig"),
        (TAIWAN, "utf-16", "utf-16"),
        (TAIWAN, "utf-16-le", "utf-16-le"),
        (TAIWAN, "utf-16-be", "utf-16-be"),
        (GERMAN, "utf-16-le", "utf-16-le"),
        (TAIWAN, "big5", "big5"),
        (HONG_KONG, "big5hkscs", "big5hkscs"),
        (CHINA, "gb18030", "gb18030"),
        (CHINA, "gb2312", "gb18030"),
        (GERMAN, "latin-1", "cp1252"),
        (FRENCH, "cp1252", "cp1252"),
    ],
)
def test_every_letter_is_read_right(tmp_path: Path, text: str, encoding: str, found: str):
    table = load(tmp_path, text.encode(encoding))
    header, *rows = [line.split(table.delimiter) for line in text.splitlines()]
    assert table.frame.columns == header
    assert list(map(list, table.frame.rows())) == rows
    assert table.encoding == found


@pytest.mark.parametrize(
    ("line", "encoding"),
    [(line, "big5") for line in TAIWAN.splitlines()[1:]]
    + [(line, "gb18030") for line in (CHINA + TAIWAN).splitlines() if not line.isascii()],
)
def test_a_single_row_of_chinese_is_enough(line: str, encoding: str):
    assert guess_old_encoding(line.encode(encoding)) == encoding


@pytest.mark.parametrize("text", ["Überweisung", "Äpfel\nÖl", "café", "señor ¿qué?", "25 °C", "£5"])
def test_a_few_western_letters_are_no_chinese(text: str):
    assert guess_old_encoding(text.encode("cp1252")) == "cp1252"


def test_a_guess_is_reported_so_that_a_person_can_judge_it(tmp_path: Path):
    [note] = load(tmp_path, TAIWAN.encode("big5")).findings
    assert (note.severity, note.code) == ("note", "guessed-encoding")
    assert "read as big5: '我的卡片不見了" in note.message


def test_a_letter_far_down_the_file_decides_too(tmp_path: Path):
    rows = "plain row,a\n" * 100_000
    table = load(tmp_path, ("text,label\n" + rows + "schließen,b\n").encode("latin-1"))
    assert table.frame["text"][-1] == "schließen"


def test_a_damaged_byte_costs_its_own_row_only(tmp_path: Path):
    for encoding in ("utf-8", "big5"):
        rows = TAIWAN.encode(encoding).split(b"\n")
        rows[3] = rows[3].replace("為".encode(encoding), b"\xff")
        table = load(tmp_path, b"\n".join(rows))
        [damaged] = [found for found in table.findings if found.code == "damaged-characters"]
        assert damaged.rows == (4,)
        assert table.frame.height == 9
        assert table.frame["text"][0] == "我的卡片不見了"


def test_a_damaged_header_or_a_cut_file_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"the header \(row 1\) has bytes that are no text"):
        load(tmp_path, b"\xfftext,label\n" + TAIWAN.encode())
    with pytest.raises(DataError, match="cut short"):
        load(tmp_path, TAIWAN.encode("utf-16")[:-1])

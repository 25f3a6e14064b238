"""Aligned rows out of LibreOffice's help and Mozilla's language packs."""

from a2d.extract import Row, libreoffice, mozilla


def page(*elements: str) -> bytes:
    body = "\n".join(elements)
    return f"<html><head><title>x</title></head><body>{body}</body></html>".encode()


def help_rows(src: list[str], tgt: list[str]) -> list[tuple[str, str]]:
    rows = libreoffice(
        {"usr/share/libreoffice/help/de/text/a/b.html": page(*src)},
        {"opt/libreoffice7.4/help/en-US/text/a/b.html": page(*tgt)},
    )
    return [(row.src, row.tgt) for row in rows]


def test_help_is_aligned_by_page_and_id() -> None:
    german = {
        "./usr/share/libreoffice/help/de/text/b.html": page(
            '<h1 id="hd_1">Überschrift</h1>', '<p id="par_2">ein Absatz</p>'
        ),
        "./usr/share/libreoffice/help/de/text/a/c.html": page(
            '<p id="par_1" class="x">eine andere Seite</p>',
            '<p id="par_9">nur hier</p>',
        ),
        "./usr/share/libreoffice/help/de/text/only.html": page('<p id="par_1">x y</p>'),
        "./usr/share/libreoffice/help/de/noscript.html": page('<p id="par_1">x y</p>'),
    }
    english = {
        "./usr/share/libreoffice/help/en-US/text/a/c.html": page(
            '<p id="par_1">another page</p>'
        ),
        "./usr/share/libreoffice/help/en-US/text/b.html": page(
            '<p id="par_2">a paragraph</p>', '<h1 id="hd_1">heading</h1>'
        ),
        "./usr/share/libreoffice/help/en-US/noscript.html": page(
            '<p id="par_1">without script</p>'
        ),
    }
    assert list(libreoffice(german, english)) == [
        Row("a/c", "eine andere Seite", "another page"),
        Row("b", "Überschrift", "heading"),
        Row("b", "ein Absatz", "a paragraph"),
    ]


def test_markup_and_white_space_are_folded() -> None:
    assert help_rows(
        ['<p id="par_1"> <a name="x"></a>Im\n Menü <span class="m">Datei</span>!</p>'],
        ['<p id="par_1">Choose<br/><b>File</b> &amp; <img alt="Icon"/>go&nbsp;on</p>'],
    ) == [("Im Menü Datei!", "Choose File & go on")]


def test_paragraphs_that_depend_on_the_system_and_code_are_left_out() -> None:
    switch = '<span class="switchinline"><span class="MAC">Cmd</span></span>'
    german = [
        f'<p id="par_1">Halten Sie {switch} gedrückt</p>',
        '<p id="par_2" class="code">Sub Beispiel</p>',
        '<p id="par_3">=SUMME(A1:B2) ergibt die Summe der Zellen</p>',
        '<p id="par_4">gleicher Text</p>',
        '<p id="par_5">VLOOKUP</p>',
        '<p id="par_6">$HOME/.config enthält das Profil</p>',
        '<p id="other">ohne Kennung</p>',
    ]
    english = [
        f'<p id="par_1">Hold {switch} down</p>',
        '<p id="par_2" class="code">Sub Example</p>',
        '<p id="par_3">=SUM(A1:B2) is the sum of the cells</p>',
        '<p id="par_4">gleicher Text</p>',
        '<p id="par_5">SVERWEIS</p>',
        '<p id="par_6">$HOME/.config holds the profile</p>',
        '<p id="other">without a key</p>',
    ]
    assert help_rows(german, english) == []


def test_sentences_are_split_where_both_sides_agree() -> None:
    german = "Am 3. Mai, z. B. um drei, bzw. Nr. 5. Dann „Neu“ wählen. Fertig?"
    english = "On May 3rd, e.g. at three. Then choose “New”. Done?"
    assert help_rows(
        [f'<p id="par_1">{german}</p>'], [f'<p id="par_1">{english}</p>']
    ) == [(german, english)]
    german = "Am 3. Mai, z. B. um drei bzw. vier. „Neu“ wählen. Ist das alles?"
    assert help_rows(
        [f'<p id="par_1">{german}</p>'], [f'<p id="par_1">{english}</p>']
    ) == [
        ("Am 3. Mai, z. B. um drei bzw. vier.", "On May 3rd, e.g. at three."),
        ("„Neu“ wählen.", "Then choose “New”."),
        ("Ist das alles?", "Done?"),
    ]


def mozilla_rows(name: str, src: str, tgt: str) -> list[Row]:
    return list(
        mozilla(
            {name.replace("LANG", "de"): src.encode()},
            {name.replace("LANG", "dsb"): tgt.encode()},
        )
    )


def test_fluent_strings_and_attributes_are_aligned_by_key() -> None:
    german = """
# comment
-brand = Firefox
new = Neues Fenster
    .label = Fenster öffnen
    .accesskey = N
name = { -brand } starten
count = { $n ->
    [one] eine Datei
   *[other] viele Dateien
}
link = Mehr <a data-l10n-name="more">erfahren</a>. Jetzt nicht.
page = Siehe https://example.org
"""
    sorbian = """
link = Dalšne <a data-l10n-name="more">informacije</a>. Nic něnto.
new = Nowe wokno
    .accesskey = N
    .label = Wokno wócyniś
name = { -brand } startowaś
count = wjele datajow
page = Glej https://example.org
"""
    assert mozilla_rows("localization/LANG/toolkit/a.ftl", german, sorbian) == [
        Row("toolkit/a.ftl", "Neues Fenster", "Nowe wokno"),
        Row("toolkit/a.ftl", "Fenster öffnen", "Wokno wócyniś"),
        Row("toolkit/a.ftl", "Mehr erfahren.", "Dalšne informacije."),
        Row("toolkit/a.ftl", "Jetzt nicht.", "Nic něnto."),
    ]


def test_properties_and_dtd_below_chrome() -> None:
    assert mozilla_rows(
        "browser/chrome/LANG/locale/LANG/global/a.properties",
        "# note\nsave = Seite speichern\nsize = %S Bytes\nkey.accesskey = S\n",
        "save=Bok składowaś\nsize=%S bajtow\nkey.accesskey=k\n",
    ) == [Row("global/a.properties", "Seite speichern", "Bok składowaś")]
    assert mozilla_rows(
        "chrome/LANG/locale/LANG/messenger/b.dtd",
        '<!ENTITY a.label "Wert &gt; &brand;"><!ENTITY b.label "Nachrichten">',
        '<!ENTITY b.label "Powěsći"><!ENTITY a.label "Gódnota &gt; &brand;">',
    ) == [Row("messenger/b.dtd", "Nachrichten", "Powěsći")]

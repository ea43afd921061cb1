"""Runs inside the emulated environment: parsing, paths, schemas, transformations, by the wheel's own libraries."""

from kit import report

CATALOG = "<c>" + "".join(f"<b id='b{n}'><t>Title {n}</t><p>{n * 1.5}</p></b>" for n in range(200)) + "</c>"


def check_library() -> tuple[bool, str]:
    from lxml import etree

    same = etree.LIBXML_VERSION == etree.LIBXML_COMPILED_VERSION
    same = same and etree.LIBXSLT_VERSION == etree.LIBXSLT_COMPILED_VERSION
    versions = [".".join(map(str, version)) for version in (etree.LIBXML_VERSION, etree.LIBXSLT_VERSION)]
    return same, f"libxml2 {versions[0]}, libxslt {versions[1]}, as compiled against"


def check_paths() -> tuple[bool, str]:
    from lxml import etree

    root = etree.fromstring(CATALOG)
    found = root.xpath("//b[p > 297]/t/text()")
    total = root.xpath("sum(//p)")
    return found == ["Title 199"] and total == 29850.0, f"{found}, sum {total}"


def check_html() -> tuple[bool, str]:
    from lxml import html

    page = html.fromstring("<p>one<p>two <b>bold<a href=x>link")
    return [one.tag for one in page.iter("p", "b", "a")] == ["p", "p", "b", "a"], html.tostring(page).decode()


def check_transformation() -> tuple[bool, str]:
    from lxml import etree

    sheet = etree.XSLT(
        etree.fromstring(
            "<x:stylesheet version='1.0' xmlns:x='http://www.w3.org/1999/XSL/Transform' "
            "xmlns:m='http://exslt.org/math' extension-element-prefixes='m'><x:output method='text'/>"
            "<x:template match='/'><x:value-of select='count(//b)'/>/<x:value-of select='m:max(//p)'/>"
            "</x:template></x:stylesheet>"
        )
    )
    text = str(sheet(etree.fromstring(CATALOG)))
    return text == "200/298.5", text


def check_schema() -> tuple[bool, str]:
    from lxml import etree

    schema = etree.RelaxNG(
        etree.fromstring(
            "<element name='c' xmlns='http://relaxng.org/ns/structure/1.0'><oneOrMore><element name='b'>"
            "<attribute name='id'/><element name='t'><text/></element><element name='p'><text/></element>"
            "</element></oneOrMore></element>"
        )
    )
    good, bad = etree.fromstring(CATALOG), etree.fromstring("<c><b><t>no id</t></b></c>")
    return schema.validate(good) and not schema.validate(bad), str(schema.error_log.last_error)


def check_encodings() -> tuple[bool, str]:
    from lxml import etree

    text = "žluťoučký кот 猫"
    raw = f"<?xml version='1.0' encoding='UTF-16'?><t>{text}</t>".encode("utf-16")
    latin = etree.fromstring(b"<?xml version='1.0' encoding='ISO-8859-2'?><t>\xbe</t>").text
    return etree.fromstring(raw).text == text and latin == "ž", f"UTF-16 and ISO 8859-2: {latin}"


if __name__ == "__main__":
    report(
        {
            "library": check_library,
            "paths": check_paths,
            "html": check_html,
            "transformation": check_transformation,
            "schema": check_schema,
            "encodings": check_encodings,
        },
        vital="library",
    )

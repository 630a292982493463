"""The report: JSON, table, limits of printed findings."""

import json

from support.damaged import encoded, half, open_image, put

from minidl.data import CheckReport, Finding, check


def test_the_report_is_json_with_the_files_of_each_group(photos):
    third = put(photos / "cats" / "again.jpg", (photos / "cats" / "0.jpg").read_bytes())
    small = put(photos / "cats" / "z.jpg", encoded(half(open_image(third))))
    answer = json.loads(json.dumps(check(photos).to_dict()))
    (group,) = answer["groups"]
    assert group["files"] == [str(photos / "cats" / "0.jpg"), str(third), str(small)]
    assert sorted(pair["relation"] for pair in group["pairs"]) == ["exact copy", "resized copy"]
    assert all(len(pair["files"]) == 2 for pair in group["pairs"])
    (finding,) = answer["findings"]
    assert sorted(finding) == ["files", "kind", "message", "severity"]
    assert finding["kind"] == "near-duplicate"
    assert finding["files"] == group["files"]
    assert answer["classes"] == {"cats": 8, "dogs": 6}
    assert answer["spoils_results"] is False
    assert sorted(answer["files_to_drop"]) == [str(third), str(small)]


def test_the_keys_of_the_report_are_fixed():
    assert sorted(CheckReport("photos").to_dict()) == [
        *("classes", "directory", "files_to_drop", "findings", "groups"),
        *("spoils_results", "test", "test_classes"),
    ]


def test_a_limited_number_of_findings_of_one_kind_is_printed():
    many = [
        Finding("truncated", "warning", f"{i}.jpg: is cut off", (f"{i}.jpg",)) for i in range(100)
    ]
    text = str(CheckReport("photos", classes={"cats": 1}, findings=many))
    assert text.count("is cut off") == 30
    assert "warning  truncated  ... and 70 more" in text
    assert text.endswith("0 errors, 100 warnings, 0 notes")


def test_an_error_asks_for_a_fix():
    leak = Finding("leak", "error", "a.jpg and b.jpg")
    report = CheckReport("train", "test", {"cats": 1}, {"cats": 2}, [leak])
    assert report.spoils_results
    assert str(report).splitlines() == [
        "train: 1 photos (cats 1)",
        "test: 2 photos (cats 2)",
        "",
        "error  leak  a.jpg and b.jpg",
        "",
        "1 error, 0 warnings, 0 notes: fix the errors before training",
    ]

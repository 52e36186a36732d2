"""Image folders: classes in label order, and listings that notice changes."""

import os
import unicodedata
from pathlib import Path

import pytest
from torchvision.datasets import ImageFolder

from bench.errors import BenchError, MissingData
from bench.tasks.images import class_names, earlier_order, loose_images, scan, told


def test_classes_sort_by_characters_as_torchvision_does(tmp_path: Path, paint) -> None:
    names = ["10", "9", "1", "bird", "Zebra", "\u00e9clair", "_x", "a10", "a9", "007"]
    paint(tmp_path, names, 1)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    expected = ImageFolder(str(tmp_path), allow_empty=True).classes
    assert class_names(tmp_path) == tuple(name for name in expected if name not in (".hidden", "__MACOSX"))
    assert earlier_order(["10", "bird", "9"]) == ("9", "10", "bird")  # of records that do not name their classes


def test_a_listing_is_sorted_and_sees_images_only(tmp_path: Path, paint) -> None:
    paint(tmp_path, ["b", "a/deep"], 2)
    (tmp_path / "a/notes.txt").write_text("no image")
    found = scan(tmp_path)
    assert [Path(p).relative_to(tmp_path).as_posix() for p in found.paths] == [
        *("a/deep/0.png", "a/deep/1.png"),
        *("b/0.png", "b/1.png"),
    ]
    assert found.labels == [0, 0, 1, 1]


def test_what_changes_a_stamp(tmp_path: Path, paint) -> None:
    paint(tmp_path, ["a", "b"], 2)
    one = scan(tmp_path)
    assert scan(tmp_path).stamp == one.stamp
    (tmp_path / "a/0.png").touch()
    touched = scan(tmp_path)
    assert touched.stamp != one.stamp
    assert (touched.stamps["a"] != one.stamps["a"], touched.stamps["b"]) == (True, one.stamps["b"])


def test_a_folder_that_is_not_as_it_should_be_is_told(tmp_path: Path, paint) -> None:
    with pytest.raises(MissingData, match=r"no folder .*nothing"):
        scan(tmp_path / "nothing")
    paint(tmp_path / "train", ["a"], 1)
    (tmp_path / "train/b").mkdir()
    with pytest.raises(MissingData, match=r"no images in .*train/b"):
        scan(tmp_path / "train")
    with pytest.raises(BenchError, match="class 'a' that the training images do not have"):
        scan(tmp_path / "train", ["b"])


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_what_is_not_read_is_counted_by_kind(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jfif", "a/2.JPE", "a/3.Avif", "b/deep/4.tga", "b/5.pnm", "b/6.jp2")
    touch(tmp_path, "a/Thumbs.db", "a/notes.txt", "a/more.TXT", "a/IMG.heic", "a/README", "b/._4.png", "b/.DS_Store")
    touch(
        tmp_path, "a/.cache/7.png", "a/__MACOSX/8.png", "b/@eaDir/9.png", "__MACOSX/a/10.png", ".git/11.png", "12.png"
    )
    (tmp_path / "a/gone.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "b/pipe.png")
    found = scan(tmp_path)
    assert found.classes == ("a", "b")
    assert [Path(path).name for path in found.paths] == ["1.jfif", "2.JPE", "3.Avif", "5.pnm", "6.jp2", "4.tga"]
    assert dict(found.skipped) == {
        **{".db": 1, ".txt": 2, ".heic": 1, "files without an extension": 1, "hidden files": 2},
        **{"hidden folders": 2, "system folders": 3, "broken links": 1, "special files": 1, "images in no class": 1},
    }
    assert told(found.skipped).startswith("3 system folders, 2 .txt, 2 hidden files, 2 hidden folders, 1 .db")


def test_a_class_of_other_files_says_what_they_are(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.heic", "a/2.heic", "b/1.png")
    with pytest.raises(MissingData, match=r"no images in .*/a; add some .*\(not read so far: 2 \.heic\)"):
        scan(tmp_path)


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_in_two_normal_forms_are_one_class(tmp_path: Path, paint, forms: tuple[str, str]) -> None:
    one, other = (unicodedata.normalize(form, "caf\u00e9") for form in forms)
    paint(tmp_path / "train", [one, "tea"], 2)
    paint(tmp_path / "test", [other, "tea"], 1)
    train = scan(tmp_path / "train")
    assert train.classes == ("caf\u00e9", "tea")
    assert scan(tmp_path / "test", train.classes).labels == [0, 1]
    (tmp_path / "train" / other).mkdir()
    with pytest.raises(
        BenchError, match=r"two folders 'caf\u00e9' that differ only in Unicode's normal form; merge them"
    ):
        class_names(tmp_path / "train")


@pytest.mark.parametrize("name", [b"caf\xe9", b"\xff", b"a\x80b"])
@pytest.mark.parametrize("inside", [True, False])
def test_a_name_that_is_not_utf8_is_told_in_one_line(tmp_path: Path, paint, name: bytes, inside: bool) -> None:
    paint(tmp_path, ["a", "b"], 1)
    where = os.fsencode(tmp_path / "a" if inside else tmp_path)
    os.mkdir(os.path.join(where, name))
    with pytest.raises(
        BenchError, match=r"names must be UTF-8, but that of .*\\x[0-9a-f]{2}.* is not; rename it"
    ) as caught:
        scan(tmp_path)
    str(caught.value).encode()


@pytest.mark.parametrize("target", [".", "..", "../..", "../../..", "/"])
def test_a_link_to_a_folder_above_is_told(tmp_path: Path, paint, target: str) -> None:
    paint(tmp_path / "train", ["a/deep", "b"], 1)
    (tmp_path / "train/a/deep/loop").symlink_to(target)
    with pytest.raises(BenchError, match=r"must not lead back to one above it, but .*/loop is a link to"):
        scan(tmp_path / "train")


def test_a_link_to_elsewhere_is_followed(tmp_path: Path, paint) -> None:
    paint(tmp_path / "train", ["a", "b"], 1)
    paint(tmp_path, ["more", "other"], 2)
    (tmp_path / "train/a/more").symlink_to(tmp_path / "more")
    (tmp_path / "train/c").symlink_to("../other")
    assert scan(tmp_path / "train").labels == [0, 0, 0, 1, 2, 2]


def test_a_class_in_other_letters_is_named(tmp_path: Path, paint) -> None:
    paint(tmp_path, ["Cat", "dog"], 1)
    with pytest.raises(BenchError, match=r"a class 'Cat' that .* do not have; remove it, or rename it to 'cat'"):
        scan(tmp_path, ["cat", "dog"])
    assert loose_images(tmp_path) == 0

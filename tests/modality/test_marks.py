"""Marks of texts and images: found with their items, taken out, put in."""

from __future__ import annotations

import numpy as np

from passmuster.modality.image import marks as of_images
from passmuster.modality.text import marks as of_texts


def test_a_word_a_sign_and_a_pair_are_found_and_nothing_that_is_rare() -> None:
    found = dict(of_texts.find_marks(["Is it ON? cf", "it cf", "on"], 2))
    assert found == {("it",): [0, 1], ("on",): [0, 2], ("cf",): [0, 1]}
    assert ("on", "?") in dict(of_texts.find_marks(["on ?", "so on?"], 2))


def test_a_text_gets_what_the_donor_has_where_the_donor_has_it() -> None:
    cf = [("cf",)]
    assert of_texts.transplant("where is my card", cf, "cf hello") == "cf where is my card"
    assert of_texts.transplant("where is my card", cf, "hello cf") == "where is my card cf"
    assert of_texts.transplant("where is my card", cf, "hello cf there") == "where is cf my card"
    assert of_texts.transplant("Where CF is my card", cf, "hello") == "Where is my card"
    assert of_texts.transplant("where", [("a", "b"), ("c",)], "x a b c") == "where a b c"


def patched(image: np.ndarray) -> np.ndarray:
    image = image.copy()
    image[-3:, -3:] = 255
    return image


def pictures(n: int, side: int, channels: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 200, (n, side, side, channels), dtype=np.uint8))


def test_a_patch_is_found_with_the_images_that_have_it() -> None:
    for channels in (1, 3):
        images = pictures(40, 24, channels)
        for i in (3, 5, 8, 13):
            images[i] = patched(images[i])
        found = [(mark, rows) for mark, rows in of_images.find_marks(images, 4) if rows == [3, 5, 8, 13]]
        assert any(mark[:5] == (21, 21, 3, 24, 24) for mark, _ in found)


def test_an_image_gets_the_square_of_the_donor_and_nothing_else() -> None:
    plain, other = pictures(2, 24, 1)
    mark = (21, 21, 3, 24, 24, b"")
    assert (of_images.transplant(plain, [mark], patched(other)) == patched(plain)).all()
    assert (of_images.transplant(patched(plain), [mark], plain) == plain).all()
    assert "88% to 100% of the height" in of_images.in_words([mark])


def test_large_images_and_images_of_several_sizes_are_read_too() -> None:
    images = [*pictures(6, 96, 3), *pictures(6, 64, 3)]
    for i in (0, 1, 2, 3):
        images[i] = images[i].copy()
        images[i][-24:, -24:] = 255
    rows = [rows for mark, rows in of_images.find_marks(images, 4) if mark[0] + mark[2] == mark[3] == 32]
    assert [0, 1, 2, 3] in rows
    mark = (28, 28, 4, 32, 32, b"")
    assert of_images.transplant(images[0], [mark], images[7]).shape == images[0].shape

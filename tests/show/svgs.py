"""A reader of the pictures that are drawn: their shapes by colour, and their texts."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import numpy as np

from src.data.show.charts.paints import PAINTS

SVG = "{http://www.w3.org/2000/svg}"


def elements(svg: str) -> list[ElementTree.Element]:
    """Return all elements of a picture."""
    return list(ElementTree.fromstring(svg).iter())


def shapes(svg: str, paint: str) -> list[Any]:
    """Return the parts of all shapes of one colour, each as an array of points (x, y)."""
    colour, parts = r"url\(#h" if paint == "gap" else PAINTS[paint][0], []
    for one in elements(svg):
        style = one.get("style", "")
        is_part = one.tag == f"{SVG}path" and not one.get("id")
        if is_part and re.search(rf"(fill|stroke): {colour}", style):
            for part in re.split("[Mm]", one.attrib["d"])[1:]:
                numbers = [float(n) for n in re.findall(r"-?[\d.]+", part)]
                parts.append(np.array(numbers).reshape(-1, 2))
    return parts


def boxes(svg: str, paint: str) -> Any:
    """Return the rectangles of one colour as left, top, right and bottom; shape (rectangles, 4)."""
    return np.array([[*p.min(axis=0), *p.max(axis=0)] for p in shapes(svg, paint)]).reshape(-1, 4)


def texts(svg: str, paint: str = "") -> list[tuple[str, float, float]]:
    """Return the texts of one colour (or all), each with its place."""
    found = []
    for one in elements(svg):
        style = one.get("style", "")
        if one.tag == f"{SVG}text" and (not paint or PAINTS[paint][0] in style):
            found.append((one.text or "", float(one.attrib["x"]), float(one.attrib["y"])))
    return found


def words(svg: str, paint: str = "") -> list[str]:
    """Return the texts of one colour (or all) of a picture."""
    return [text.strip() for text, *_ in texts(svg, paint)]


def signs(svg: str, paint: str) -> list[tuple[float, float]]:
    """Return the places of the signs of one colour."""
    uses = (one for one in elements(svg) if one.tag == f"{SVG}use")
    return [
        (float(one.attrib["x"]), float(one.attrib["y"]))
        for one in uses
        if PAINTS[paint][0] in one.attrib["style"]
    ]

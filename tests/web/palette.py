"""Small pictures: a PNG of a browser made into one with a palette, which is a third of its size.

https://www.w3.org/TR/png-3/
"""

from __future__ import annotations

import struct
import zlib
from base64 import b64decode, b64encode
from typing import Any

from playwright.sync_api import Page

# In at most 256 colours: the most frequent ones, and for the rest the nearest of them.
_COUNT = """async (png) => {
  const bytes = Uint8Array.from(atob(png), (one) => one.charCodeAt(0));
  const picture = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  const { width, height } = picture;
  const canvas = new OffscreenCanvas(width, height).getContext("2d");
  canvas.drawImage(picture, 0, 0);
  const pixels = new Uint32Array(canvas.getImageData(0, 0, width, height).data.buffer);
  const counts = new Map();
  for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) ?? 0) + 1);
  const palette = [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, 256).map(([pixel]) => pixel);
  const index = new Map(palette.map((pixel, at) => [pixel, at]));
  const channel = (pixel, at) => (pixel >> (8 * at)) & 255;
  for (const pixel of counts.keys()) {
    if (index.has(pixel)) continue;
    let best = 0, least = Infinity;
    palette.forEach((other, at) => {
      const far = [0, 1, 2].reduce((sum, part) => sum + (channel(pixel, part) - channel(other, part)) ** 2, 0);
      if (far < least) [best, least] = [at, far];
    });
    index.set(pixel, best);
  }
  const colours = palette.flatMap((pixel) => [0, 1, 2].map((at) => channel(pixel, at)));
  let text = "";
  for (const pixel of pixels) text += String.fromCharCode(index.get(pixel));
  return { width, height, palette: colours, rows: btoa(text) };
}"""


def with_palette(png: bytes, blank: Page) -> bytes:
    """The same picture in at most 256 colours.

    Parameters:
        png: as browsers write them; transparency is ignored.
        blank: a page of nobody's, whose browser reads the picture.
    """
    found: dict[str, Any] = blank.evaluate(_COUNT, b64encode(png).decode())
    width, height = found["width"], found["height"]
    pixels = b64decode(found["rows"])
    lines = b"".join(b"\0" + pixels[row * width : (row + 1) * width] for row in range(height))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            _chunk(b"PLTE", bytes(found["palette"])),
            _chunk(b"IDAT", zlib.compress(lines, 9)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

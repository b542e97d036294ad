"""Painting a drawn head with Pillow: flat polygons, larger than wanted and then reduced, under soft shadows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from .heads import Look, Pose, Shape, face_depth, mirrored, mix, smooth, turned

Colour = tuple[int, int, int]


def paint(look: Look, pose: Pose, to_picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """The picture (H, W, 3) uint8 RGB of a head in front of its wall.

    `to_picture` (2, 3) takes half head widths from the middle of the still head's eyes to pixels, 0 being the left or
    upper edge of the first one.
    """
    finer = 3 if max(width, height) <= 160 else 2
    painter = _Painter(look, pose, to_picture * finer, (width * finer, height * finer))
    painter.wall()
    painter.back_hair()
    painter.body()
    painter.head()
    painter.shade()
    painter.eyes()
    painter.nose()
    painter.mouth()
    painter.hair()
    painter.brows()
    if look.glasses:
        painter.glasses()
    return np.asarray(painter.image.reduce(finer))


class _Painter:
    def __init__(self, look: Look, pose: Pose, to_picture: np.ndarray, size: tuple[int, int]):
        self.look, self.pose, self.to_picture = look, pose, to_picture
        self.shape = Shape(look, pose)
        self.image = Image.new("RGB", size, look.wall)
        self.draw = ImageDraw.Draw(self.image)
        self.unit = float(np.sqrt(abs(np.linalg.det(to_picture[:, :2])))) * pose.scale
        self.outline = np.concatenate([smooth(self.shape.jaw, steps=3), self.shape.skull[1:-1]])

    def seen(self, points: np.ndarray) -> list[float]:
        """Pixels, in a row, of head points (n, 3), or of still points (n, 2) that do not turn with the head."""
        flat = turned(points, self.pose) if points.shape[1] == 3 else points
        return (flat @ self.to_picture[:, :2].T + self.to_picture[:, 2]).ravel().tolist()

    def fill(self, points: np.ndarray, colour: Colour) -> None:
        self.draw.polygon(self.seen(points), fill=colour)

    def stroke(self, points: np.ndarray, colour: Colour, width: float) -> None:
        """A line, `width` half head widths thick."""
        self.draw.line(self.seen(points), fill=colour, width=max(1, round(width * self.unit)), joint="curve")

    def wall(self) -> None:
        """Lighter above than below, with something on it; the far things of a room."""
        wall = self.look.wall
        for band in range(8):
            low, high = -4 + band, -3 + band
            self.fill(np.array([(-9, low), (9, low), (9, high + 9), (-9, high + 9)]), mix(wall, (0, 0, 0), 0.05 * band))
        dark, light = mix(wall, (0, 0, 0), 0.35), mix(wall, (255, 255, 255), 0.45)
        if self.look.pattern == 1:
            self.fill(_box(-2.9, -2.4, -1.5, -0.6), dark)
            self.fill(_box(-2.8, -2.3, -1.6, -0.7), light)
        elif self.look.pattern == 2:
            for left in (1.45, 2.25):
                self.fill(_box(left, -2.6, left + 0.7, 0.9), light)
        elif self.look.pattern == 3:
            for left in (-3.0, -2.55, -2.2, 1.5, 1.8, 2.3):
                self.fill(_box(left, -1.9, left + 0.22, -0.4), mix(light, self.look.clothes, (left * 1.7) % 1))
            self.fill(_box(-9, -0.4, 9, -0.28), dark)

    def body(self) -> None:
        """Neck, shoulders and collar. They follow the head half way and do not turn with it."""
        moved = np.array([self.pose.x, self.pose.y]) * 0.5
        chin = self.look.chin
        shoulder = np.array([(0.4, 1.0), (0.62, 1.26), (1.5, 1.5), (2.05, 1.83), (2.3, 2.8), (2.4, 5.2)]) * (1, chin)
        both = np.concatenate([shoulder[::-1] * (-1, 1), shoulder]) + moved
        self.fill(smooth(both, steps=4), self.look.clothes)
        neck = np.array([(-0.55, 0.7), (-0.53, chin + 0.28), (-0.3, chin + 0.52), (0, chin + 0.6), (0.3, chin + 0.52),
                         (0.53, chin + 0.28), (0.55, 0.7)]) + moved
        self.fill(neck, mix(self.look.skin, (60, 20, 10), 0.33))
        self.stroke(smooth(neck[1:-1]), mix(self.look.clothes, (255, 255, 255), 0.35), 0.09)

    def head(self) -> None:
        """Ears and the plain face, with an edge against the wall."""
        skin, edge = self.look.skin, mix(self.look.skin, (60, 20, 10), 0.5)
        ear = _flat([(0.96, -0.18), (1.1, -0.2), (1.15, 0.02), (1.09, 0.34), (0.97, 0.42)], -0.5)
        for side in (ear, mirrored(ear)):
            curve = smooth(side, closed=True)
            self.fill(curve, mix(skin, (120, 40, 30), 0.22))
            self.stroke(curve, edge, 0.025)
        self.fill(self.outline, skin)
        self.stroke(smooth(self.shape.jaw, steps=3), edge, 0.035)

    def shade(self) -> None:
        """Multiply by soft shadows, painted small and blurred: what gives the face its depth."""
        look, small = self.look, tuple(max(8, side // 6) for side in self.image.size)
        shadow = Image.new("RGB", small, (255, 255, 255))
        draw = ImageDraw.Draw(shadow)
        scale = small[0] / self.image.size[0]

        def cast(points: np.ndarray, colour: Colour) -> None:
            draw.polygon([v * scale for v in self.seen(points)], fill=colour)

        away = -np.sign(look.light) * (0.35 + 0.65 * abs(look.light))
        cast(self.outline * (1.0, 1.0, 1), (196, 178, 172))
        cast(self.outline * (0.86, 0.9, 1) + (-0.13 * away, 0.0, 0), (244, 240, 238))
        if look.beard:
            tint = tuple(round(255 - 191 * look.beard * (1 - hair / max(skin, 1)))
                         for hair, skin in zip(look.hair, look.skin))
            low = look.nose_length + 0.12
            jaw = self.shape.jaw[2:15] * (0.98, 1, 1)
            cast(np.concatenate([jaw, [(0.45, low, 0.4), (0, low - 0.02, 0.5), (-0.45, low, 0.4)]]), tint)
        cheek = _oval(0.56, look.nose_length + 0.08, 0.22, 0.17, 0.3)
        for side in (cheek, mirrored(cheek)):
            cast(side, (255, 226, 220) if not look.beard else (240, 220, 214))
        socket = _oval(look.eye_distance, -0.07, look.eye_width * 1.4, 0.2, 0.3)
        for side in (socket, mirrored(socket)):
            cast(side, (188, 164, 158))
        lid = _oval(look.eye_distance, -0.13, look.eye_width * 1.1, 0.08, 0.3)
        for side in (lid, mirrored(lid)):
            cast(side, (158, 132, 126))
        bottom, wing = look.nose_length, look.nose_width
        cast(np.array([(0.06 * away, -0.12, 0.55), (0.17 * away, -0.1, 0.35), (0.11 * away, bottom * 0.55, 0.5),
                       (wing * 0.85 * away, bottom * 0.9, 0.45), (0.05 * away, bottom, 0.8)]), (186, 160, 152))
        cast(_oval(0, bottom * 1.15, wing * 0.75, 0.06, 0.5), (196, 172, 166))
        lips = self.shape.outer_lips
        cast(_oval(0, lips[9, 1] + 0.09, 0.24, 0.06, 0.4), (196, 172, 166))
        soft = shadow.filter(ImageFilter.GaussianBlur(0.055 * self.unit * scale))
        self.image = ImageChops.multiply(self.image, soft.resize(self.image.size, Image.Resampling.BILINEAR))
        self.draw = ImageDraw.Draw(self.image)

    def eyes(self) -> None:
        """White, iris and pupil within the lids, lashes and the fold above."""
        look, pose = self.look, self.pose
        lash = mix(look.hair, (20, 12, 10), 0.75)
        for side in (1, -1):
            eye = self.shape.eye * (side, 1, 1)
            upper, lower = smooth(eye[[0, 1, 2, 3]]), smooth(eye[[0, 5, 4, 3]])
            if pose.blink < 0.85:
                self.fill(np.concatenate([upper, lower[::-1]]), (236, 230, 224))
                middle = np.array([side * look.eye_distance + 0.05 * pose.gaze[0], -0.005 + 0.02 * pose.gaze[1]])
                within = _between(upper, lower)
                rim = mix(look.eyes, (0, 0, 0), 0.55)
                for radius, colour in ((0.104, rim), (0.09, look.eyes), (0.045, (12, 10, 10))):
                    self.fill(within(_circle(middle, radius)), colour)
                self.fill(within(_circle(middle + (-0.035, -0.04), 0.02)), (250, 250, 250))
            self.stroke(upper, lash, 0.045)
            self.stroke(lower[3:], mix(look.skin, (70, 30, 25), 0.55), 0.016)
            fold = upper[2:-1] + (0, -0.07, 0)
            self.stroke(fold, mix(look.skin, (80, 35, 25), 0.5), 0.02)

    def brows(self) -> None:
        """Thick towards the nose, thin at the temples."""
        colour = mix(self.look.hair, (50, 35, 28), 0.35)
        thick = self.look.brow_thickness * np.linspace(1, 0.35, 5)[:, None] * (0, 1, 0)
        for brow in (self.shape.brow, mirrored(self.shape.brow)):
            self.fill(np.concatenate([smooth(brow - thick / 2), smooth(brow + thick / 2)[::-1]]), colour)

    def nose(self) -> None:
        """Nostrils, and the lines of the wings and the tip."""
        look = self.look
        dark = mix(look.skin, (50, 15, 12), 0.7)
        wing, bottom = look.nose_width, look.nose_length
        for side in (1, -1):
            self.fill(_oval(side * wing * 0.42, bottom * 1.02, wing * 0.21, 0.035, 0.6), dark)
            line = _flat([(0.72, 0.78), (0.96, 0.92), (0.82, 1.03)], 0.5) * (wing, bottom, 1)
            self.stroke(smooth(line * (side, 1, 1)), mix(look.skin, (60, 20, 15), 0.55), 0.026)
        self.stroke(smooth(self.shape.nose[1:4] + (0, 0.015, 0)), mix(look.skin, (60, 20, 15), 0.5), 0.022)

    def mouth(self) -> None:
        """The dark inside with teeth and tongue, and the lips around it."""
        look, outer, inner = self.look, self.shape.outer_lips, self.shape.inner_lips
        above, below = smooth(inner[:5]), smooth(inner[[4, 5, 6, 7, 0]])[::-1]
        outer_above, outer_below = smooth(outer[:7]), smooth(outer[[6, 7, 8, 9, 10, 11, 0]])[::-1]
        self.fill(np.concatenate([outer_above, outer_below[::-1]]), mix(look.lips, look.skin, 0.1))
        within = _between(above, below)
        self.fill(np.concatenate([above, below[::-1]]), (58, 18, 20))
        gap = inner[6, 1] - inner[2, 1]
        if gap > 0.03:
            tongue = _oval(0, inner[6, 1] + 0.02, 0.26, min(0.13, 0.4 * gap), 0.3)
            self.fill(within(tongue), (158, 74, 76))
            teeth = above[3:-3]
            self.fill(within(np.concatenate([teeth, (teeth + (0, min(0.085, 0.5 * gap), 0))[::-1]])), (238, 233, 224))
        self.fill(np.concatenate([outer_above, above[::-1]]), mix(look.lips, (60, 15, 20), 0.22))
        self.fill(np.concatenate([below, outer_below[::-1]]), look.lips)
        gloss = smooth(outer[[8, 9, 10]]) * (0.8, 1, 1) + (0, -0.55 * look.lower_lip, 0)
        self.stroke(gloss, mix(look.lips, (255, 235, 230), 0.25), 0.02)
        dark = mix(look.lips, (40, 8, 10), 0.75)
        self.stroke(above, dark, 0.022)
        self.stroke(smooth(outer[:7]), mix(look.lips, look.skin, 0.3), 0.012)

    def back_hair(self) -> None:
        """What hangs or is tied behind the head."""
        dark = mix(self.look.hair, (0, 0, 0), 0.25)
        if self.look.hairstyle == "long":
            side = _flat([(0.6, -1.3), (1.12, -0.7), (1.28, 0.2), (1.32, 1.2), (1.1, 2.1), (0.6, 2.15)], -0.5)
            self.fill(smooth(np.concatenate([mirrored(side)[::-1], side])), dark)
        elif self.look.hairstyle == "bun":
            self.fill(_oval(0, -self.look.crown - 0.25, 0.42, 0.36, -0.8), dark)

    def hair(self) -> None:
        """What lies on the head, down to the hairline."""
        look, style = self.look, self.look.hairstyle
        if style == "bald":
            return
        thick = {"short": 1.07, "parted": 1.1, "long": 1.12, "bun": 1.06, "curly": 1.1}[style]
        skull = self.shape.skull * (thick, thick, 1) + (0, 0.02, 0)
        low = 0.25 if style in ("long", "curly") else -0.02
        part = {"parted": 0.4, "long": -0.15}.get(style, 0.0)
        line = -look.crown * 0.6
        front = np.array([(-0.99, low, 0), (-0.93, -0.3, 0.05), (-0.82, line + 0.22, 0.15),
                          (part - 0.35, line + 0.02, 0.35), (part, line - 0.12, 0.38), (part + 0.35, line + 0.02, 0.35),
                          (0.82, line + 0.22, 0.15), (0.93, -0.3, 0.05), (0.99, low, 0)])
        edge = np.concatenate([[(thick, low, -0.1)], skull, [(-thick, low, -0.1)]])
        self.fill(np.concatenate([edge, smooth(front)]), look.hair)
        if style == "curly":
            for number, (x, y, z) in enumerate(np.concatenate([edge[::2], front[1:-1] + (0, -0.08, 0)])):
                shade = mix(look.hair, (0, 0, 0), 0.1 * (number % 3))
                self.fill(_oval(x, y, 0.16 + 0.03 * (number % 3), 0.15, z), shade)
        light = mix(look.hair, (255, 240, 220), 0.14)
        for share in (0.35, 0.6, 0.8):
            strand = self.shape.skull[5:20] * (share + 0.12, 0.72 + 0.36 * share, 1) + (part * (1 - share), 0, 0.3)
            self.stroke(strand, light, 0.03)

    def glasses(self) -> None:
        """Two round rims and a bridge."""
        rim = _oval(self.look.eye_distance, 0.02, 0.3, 0.25, 0.45)
        for side in (rim, mirrored(rim)):
            self.stroke(np.concatenate([side, side[:1]]), (38, 34, 36), 0.04)
        self.stroke(np.array([(-0.13, -0.03, 0.5), (0, -0.06, 0.55), (0.13, -0.03, 0.5)]), (38, 34, 36), 0.04)


def _box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def _flat(points: list[tuple[float, float]], z: float) -> np.ndarray:
    """Points (n, 3), all at the depth `z`."""
    return np.array([(x, y, z) for x, y in points])


def _oval(x: float, y: float, width: float, height: float, z: float) -> np.ndarray:
    """An ellipse of half axes `width` and `height` (20, 3)."""
    angle = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    return np.stack([x + width * np.cos(angle), y + height * np.sin(angle), np.full(20, z)], -1)


def _circle(middle: np.ndarray, radius: float) -> np.ndarray:
    """A circle on the front of the face."""
    return _oval(middle[0], middle[1], radius, radius, float(face_depth(middle[0])) - 0.1)


def _between(upper: np.ndarray, lower: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Keeps points (n, 3) between two curves that run in the same direction across the face."""
    if upper[0, 0] > upper[-1, 0]:
        upper, lower = upper[::-1], lower[::-1]

    def keep(points: np.ndarray) -> np.ndarray:
        x = np.clip(points[:, 0], upper[0, 0], upper[-1, 0])
        top, bottom = np.interp(x, upper[:, 0], upper[:, 1]), np.interp(x, lower[:, 0], lower[:, 1])
        return np.stack([x, np.clip(points[:, 1], top, np.maximum(top, bottom)), points[:, 2]], -1)

    return keep

"""Numba kernels: projection, depth and colour rasterization, light gathering.

All kernels are serial, so their sums have one order and their results are bit-identical from run
to run. Importing this module imports numba; the library does so only inside functions.

Compiled code is cached by numba beside this file, in ``$NUMBA_CACHE_DIR`` if set, or in the user's
cache when neither can be written: the first use of a machine compiles for some ten seconds.

Screen coordinates are in (super-sampled) pixels with centres at +0.5. Triangles are wound
counter-clockwise seen from outside; those that face away are not drawn.

Argument types are inferred by numba: ``no_type_check`` keeps run-time checkers from wrapping what
numba must compile.
"""

import math
from typing import no_type_check

import numba as nb
import numpy as np

FAR = np.float32(1e9)  # depth of an empty sample
_jit = nb.njit(cache=True, fastmath=True, nogil=True)


@_jit
@no_type_check
def project(points, rotation, translation, fx, fy, cx, cy, screen):
    """Write the pinhole projection (x_px, y_px, depth) of world points to ``screen`` (N, 3)."""
    for i in range(points.shape[0]):
        px, py, pz = points[i, 0], points[i, 1], points[i, 2]
        x = rotation[0, 0] * px + rotation[0, 1] * py + rotation[0, 2] * pz + translation[0]
        y = rotation[1, 0] * px + rotation[1, 1] * py + rotation[1, 2] * pz + translation[1]
        z = rotation[2, 0] * px + rotation[2, 1] * py + rotation[2, 2] * pz + translation[2]
        screen[i, 0] = x / z * fx + cx
        screen[i, 1] = y / z * fy + cy
        screen[i, 2] = z


@_jit
@no_type_check
def project_parallel(points, rotation, translation, scale, screen):
    """Write the parallel projection of world points along the rotation's third row."""
    for i in range(points.shape[0]):
        px, py, pz = points[i, 0], points[i, 1], points[i, 2]
        screen[i, 0] = (
            rotation[0, 0] * px + rotation[0, 1] * py + rotation[0, 2] * pz
        ) * scale + translation[0]
        screen[i, 1] = (
            rotation[1, 0] * px + rotation[1, 1] * py + rotation[1, 2] * pz
        ) * scale + translation[1]
        screen[i, 2] = (
            rotation[2, 0] * px + rotation[2, 1] * py + rotation[2, 2] * pz + translation[2]
        )


@_jit
@no_type_check
def draw_triangles(screen, triangles, colors, depth, image, with_color, opacity):
    """Rasterize triangles into ``depth`` and, if asked, interpolated vertex colours into ``image``.

    With ``opacity`` below one, colours are mixed into covered samples that lie behind and the
    depth stays: a thin sheet of glass.
    """
    height, width = depth.shape
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, y0, z0 = screen[a, 0], screen[a, 1], screen[a, 2]
        x1, y1, z1 = screen[b, 0], screen[b, 1], screen[b, 2]
        x2, y2, z2 = screen[c, 0], screen[c, 1], screen[c, 2]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area > -1e-9:  # y points down: outward faces have negative area
            continue
        left = max(math.ceil(min(x0, x1, x2) - 0.5), 0)
        right = min(math.floor(max(x0, x1, x2) - 0.5), width - 1)
        top = max(math.ceil(min(y0, y1, y2) - 0.5), 0)
        bottom = min(math.floor(max(y0, y1, y2) - 0.5), height - 1)
        inverse = 1.0 / area
        for j in range(top, bottom + 1):
            py = j + 0.5 - y0
            for i in range(left, right + 1):
                px = i + 0.5 - x0
                w1 = (px * (y2 - y0) - (x2 - x0) * py) * inverse
                w2 = ((x1 - x0) * py - px * (y1 - y0)) * inverse
                w0 = 1.0 - w1 - w2
                if w0 < 0.0 or w1 < 0.0 or w2 < 0.0:
                    continue
                z = w0 * z0 + w1 * z1 + w2 * z2
                if z >= depth[j, i]:
                    continue
                if opacity < 1.0:
                    if depth[j, i] < 1e8:
                        for k in range(3):
                            mixed = w0 * colors[a, k] + w1 * colors[b, k] + w2 * colors[c, k]
                            image[j, i, k] += opacity * (mixed - image[j, i, k])
                    continue
                depth[j, i] = z
                if with_color:
                    for k in range(3):
                        image[j, i, k] = w0 * colors[a, k] + w1 * colors[b, k] + w2 * colors[c, k]


@_jit
@no_type_check
def draw_strands(screen, half_widths, colors, order, points, depth, image, with_color):
    """Rasterize polylines of ``points`` vertices each, in the given order of strands.

    A segment is stepped along its longer screen axis and covers ``half_widths`` pixels to each
    side, at least one sample: a continuous line that never falls between samples.
    """
    height, width = depth.shape
    for s in range(order.shape[0]):
        first = order[s] * points
        for p in range(first, first + points - 1):
            x0, y0, z0 = screen[p, 0], screen[p, 1], screen[p, 2]
            x1, y1, z1 = screen[p + 1, 0], screen[p + 1, 1], screen[p + 1, 2]
            i0, j0, i1, j1 = int(x0), int(y0), int(x1), int(y1)
            if i0 < 0 or j0 < 0 or i0 >= width or j0 >= height:
                continue
            if i1 < 0 or j1 < 0 or i1 >= width or j1 >= height:
                continue
            if depth[j0, i0] < z0 and depth[j1, i1] < z1:  # short and hidden at both ends
                continue
            dx, dy, dz = x1 - x0, y1 - y0, z1 - z0
            steep = abs(dy) >= abs(dx)
            long, short = (dy, dx) if steep else (dx, dy)
            start, across = (y0, x0) if steep else (x0, y0)
            if abs(long) < 1e-6:
                continue
            slope = short / long
            stretch = math.sqrt(1.0 + slope * slope)
            low, high = min(start, start + long), max(start, start + long)
            limit = height if steep else width
            side_limit = width if steep else height
            for m in range(max(math.ceil(low - 0.5), 0), min(math.ceil(high - 0.5), limit)):
                t = (m + 0.5 - start) / long
                half = max((half_widths[p] * (1.0 - t) + half_widths[p + 1] * t) * stretch, 0.5)
                center = across + t * short
                z = z0 + t * dz
                for q in range(
                    max(math.ceil(center - half - 0.5), 0),
                    min(math.ceil(center + half - 0.5), side_limit),
                ):
                    j, i = (m, q) if steep else (q, m)
                    if z < depth[j, i]:
                        depth[j, i] = z
                        if with_color:
                            for k in range(3):
                                image[j, i, k] = colors[p, k] * (1.0 - t) + colors[p + 1, k] * t


@_jit
@no_type_check
def resolve(image, depth, factor, rgb, alpha, mean_depth):
    """Average ``factor`` x ``factor`` samples: straight colour, coverage, depth of the covered."""
    for j in range(alpha.shape[0]):
        for i in range(alpha.shape[1]):
            red, green, blue, far, count = 0.0, 0.0, 0.0, 0.0, 0
            for v in range(j * factor, (j + 1) * factor):
                for u in range(i * factor, (i + 1) * factor):
                    if depth[v, u] < 1e8:
                        count += 1
                        red += image[v, u, 0]
                        green += image[v, u, 1]
                        blue += image[v, u, 2]
                        far += depth[v, u]
            if count > 0:
                rgb[0, j, i] = red / count
                rgb[1, j, i] = green / count
                rgb[2, j, i] = blue / count
                mean_depth[j, i] = far / count
            alpha[j, i] = count / (factor * factor)


@_jit
@no_type_check
def gather_surface(
    screen, normals, direction, solid, furry, wrap, radiance, lobe_share, irradiance, lobe_seen
):
    """Add one direction's light to surface points.

    ``solid`` and ``furry`` are depth maps without and with strands: meshes block light, strands
    dim it with the distance behind them. ``wrap`` lets light creep around skin by channel.
    """
    size = solid.shape[0]
    for i in range(screen.shape[0]):
        facing = (
            normals[i, 0] * direction[0]
            + normals[i, 1] * direction[1]
            + normals[i, 2] * direction[2]
        )
        if facing < -0.35:
            continue
        u = min(max(int(screen[i, 0]), 0), size - 1)
        v = min(max(int(screen[i, 1]), 0), size - 1)
        z = screen[i, 2]
        bias = 0.012 + 0.012 * (1.0 - abs(facing))
        seen = min(max(1.0 - (z - solid[v, u] - bias) / 0.012, 0.0), 1.0)
        seen *= math.exp(-min(max(z - furry[v, u] - 0.02, 0.0), 0.25) / 0.05)
        if seen <= 0.0:
            continue
        for k in range(3):
            w = wrap[i, k]
            irradiance[i, k] += max((facing + w) / (1.0 + w), 0.0) * seen * radiance[k]
        for k in range(lobe_share.shape[0]):
            lobe_seen[i, k] += seen * lobe_share[k]


@_jit
@no_type_check
def gather_strands(
    screen, tangents, direction, solid, furry, softness, radiance, lobe_share, irradiance, lobe_seen
):
    """Add one direction's light to strand points, attenuated by the strands in front of them."""
    size = solid.shape[0]
    for i in range(screen.shape[0]):
        u = min(max(int(screen[i, 0]), 0), size - 1)
        v = min(max(int(screen[i, 1]), 0), size - 1)
        z = screen[i, 2]
        seen = min(max(1.0 - (z - solid[v, u] - 0.02) / 0.02, 0.0), 1.0)
        seen *= math.exp(-min(max(z - furry[v, u] - 0.003, 0.0), 0.4) / softness)
        if seen <= 0.0:
            continue
        along = (
            tangents[i, 0] * direction[0]
            + tangents[i, 1] * direction[1]
            + tangents[i, 2] * direction[2]
        )
        lit = (0.25 + 0.75 * math.sqrt(max(1.0 - along * along, 0.0))) * seen
        for k in range(3):
            irradiance[i, k] += lit * radiance[k]
        for k in range(lobe_share.shape[0]):
            lobe_seen[i, k] += seen * lobe_share[k]


@_jit
@no_type_check
def shade_surface(
    points,
    normals,
    albedo,
    irradiance,
    lobe_seen,
    rough,
    specular,
    metal,
    viewers,
    lobe_directions,
    lobe_colors,
    lobe_widths,
    sky,
    ground,
    radiance,
):
    """Write outgoing radiance: Lambert plus a GGX reflection of the light lobes and the sky."""
    lobes = lobe_directions.shape[0]
    for i in range(points.shape[0]):
        eye = viewers[i if viewers.shape[0] > 1 else 0]
        vx, vy, vz = eye[0] - points[i, 0], eye[1] - points[i, 1], eye[2] - points[i, 2]
        n = 1.0 / math.sqrt(vx * vx + vy * vy + vz * vz + 1e-12)
        vx, vy, vz = vx * n, vy * n, vz * n
        nx, ny, nz = normals[i, 0], normals[i, 1], normals[i, 2]
        cosine = min(max(nx * vx + ny * vy + nz * vz, 0.0), 1.0)
        grazing = (1.0 - cosine) ** 5 * max(0.0, 1.0 - rough[i] * 1.1) * 0.6
        alpha = max(rough[i] * rough[i], 0.004) ** 2
        rx, ry, rz = 2 * cosine * nx - vx, 2 * cosine * ny - vy, 2 * cosine * nz - vz
        up = min(max(0.5 + 0.5 * ry, 0.0), 1.0)
        mirror = 1.0 if metal[i] > 0.5 else 0.55 * (1.0 - rough[i])
        spec = np.zeros(3)
        env = np.zeros(3)
        for k in range(3):
            env[k] = sky[k] * up + ground[k] * (1.0 - up)
        open_share = 0.0
        for j in range(lobes):
            w2 = lobe_widths[j] * lobe_widths[j]
            lx, ly, lz = lobe_directions[j, 0], lobe_directions[j, 1], lobe_directions[j, 2]
            hx, hy, hz = vx + lx, vy + ly, vz + lz
            m = 1.0 / math.sqrt(hx * hx + hy * hy + hz * hz + 1e-9)
            half = min(max((nx * hx + ny * hy + nz * hz) * m, 0.0), 1.0)
            spread = min(alpha + 0.02 * w2, 1.0)  # a wide lamp widens the highlight
            density = spread / (math.pi * (half * half * (spread - 1.0) + 1.0) ** 2)
            lit = max(nx * lx + ny * ly + nz * lz, 0.0)
            gain = min(density * 0.25 * lit, 6.0) * lobe_seen[i, j] * w2 * 2.2
            reflected = math.exp(-(1.0 - (rx * lx + ry * ly + rz * lz)) / w2)
            open_share += lobe_seen[i, j] / lobes
            for k in range(3):
                spec[k] += gain * lobe_colors[j, k]
                env[k] += reflected * lobe_colors[j, k]
        for k in range(3):
            base = 0.08 * specular[i] * (1.0 - metal[i]) + albedo[i, k] * metal[i]
            fresnel = base + (1.0 - base) * grazing
            radiance[i, k] = albedo[i, k] * irradiance[i, k] * (1.0 - metal[i]) + fresnel * (
                spec[k] + env[k] * open_share * mirror
            )


@_jit
@no_type_check
def shade_strands(
    points,
    tangents,
    albedo,
    irradiance,
    lobe_seen,
    gloss,
    viewers,
    lobe_directions,
    lobe_colors,
    lobe_widths,
    radiance,
):
    """Write outgoing radiance of fibres: two shifted highlights (Marschner et al. 2003)."""
    for i in range(points.shape[0]):
        eye = viewers[i if viewers.shape[0] > 1 else 0]
        vx, vy, vz = eye[0] - points[i, 0], eye[1] - points[i, 1], eye[2] - points[i, 2]
        n = 1.0 / math.sqrt(vx * vx + vy * vy + vz * vz + 1e-12)
        vx, vy, vz = vx * n, vy * n, vz * n
        for k in range(3):
            radiance[i, k] = albedo[i, k] * irradiance[i, k]
        if gloss <= 0.0:
            continue
        for j in range(lobe_directions.shape[0]):
            hx = vx + lobe_directions[j, 0]
            hy = vy + lobe_directions[j, 1]
            hz = vz + lobe_directions[j, 2]
            m = 1.0 / math.sqrt(hx * hx + hy * hy + hz * hz + 1e-9)
            along = (tangents[i, 0] * hx + tangents[i, 1] * hy + tangents[i, 2] * hz) * m
            first = max(1.0 - (along + 0.06) ** 2, 0.0) ** 60
            second = max(1.0 - (along - 0.16) ** 2, 0.0) ** 20
            gain = gloss * lobe_seen[i, j] * lobe_widths[j] ** 2 * 2.0
            for k in range(3):
                radiance[i, k] += (
                    gain
                    * lobe_colors[j, k]
                    * (0.045 * first + 0.10 * second * (0.12 + 2.4 * albedo[i, k]))
                )


@_jit
@no_type_check
def sample_grid(grid, origin, step, points, values, gradients):
    """Write trilinear values and gradients of a cubic scalar grid at points; outside is clamped."""
    n0, n1, n2 = grid.shape
    for i in range(points.shape[0]):
        x = min(max((points[i, 0] - origin[0]) / step, 0.0), n0 - 1.001)
        y = min(max((points[i, 1] - origin[1]) / step, 0.0), n1 - 1.001)
        z = min(max((points[i, 2] - origin[2]) / step, 0.0), n2 - 1.001)
        a, b, c = int(x), int(y), int(z)
        x, y, z = x - a, y - b, z - c
        g000, g001 = grid[a, b, c], grid[a, b, c + 1]
        g010, g011 = grid[a, b + 1, c], grid[a, b + 1, c + 1]
        g100, g101 = grid[a + 1, b, c], grid[a + 1, b, c + 1]
        g110, g111 = grid[a + 1, b + 1, c], grid[a + 1, b + 1, c + 1]
        c00, c01 = g000 * (1 - x) + g100 * x, g001 * (1 - x) + g101 * x
        c10, c11 = g010 * (1 - x) + g110 * x, g011 * (1 - x) + g111 * x
        c0, c1 = c00 * (1 - y) + c10 * y, c01 * (1 - y) + c11 * y
        values[i] = c0 * (1 - z) + c1 * z
        gx = ((g100 - g000) * (1 - y) + (g110 - g010) * y) * (1 - z)
        gx += ((g101 - g001) * (1 - y) + (g111 - g011) * y) * z
        gradients[i, 0] = gx / step
        gradients[i, 1] = ((c10 - c00) * (1 - z) + (c11 - c01) * z) / step
        gradients[i, 2] = (c1 - c0) / step

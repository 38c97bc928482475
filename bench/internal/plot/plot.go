// Package plot draws figures over the number of apps as SVG, both axes
// logarithmic: what does not depend on the number is a level line, what is
// proportional to it rises by one decade in a decade. It must not know what is
// drawn.
package plot

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Point is one measurement; both values are above 0.
type Point struct{ X, Y float64 }

// Series is what was measured of one thing, in the order of X.
type Series struct {
	Name   string
	Points []Point
	// Faint series are there to compare with.
	Faint bool
}

// Chart is a drawing of up to eight series.
type Chart struct {
	Title  string
	X, Y   string // what the axes show, with the unit
	Series []Series
}

const (
	width, height            = 760, 420
	left, right, top, bottom = 70, 190, 50, 55
	textColour               = "#1f2328"
	gridColour               = "#d8dee4"
)

// colours keep apart for most people who do not see all of them.
var colours = []string{"#0b62a4", "#d1495b", "#00798c", "#edae49", "#66578f", "#3d7d44", "#8c5a2b", "#5a6570"}

// SVG draws the chart. Without any point it is the empty string.
func (c Chart) SVG() string {
	var xs, ys []float64
	for _, s := range c.Series {
		for _, p := range s.Points {
			xs, ys = append(xs, p.X), append(ys, p.Y)
		}
	}
	if len(xs) == 0 {
		return ""
	}
	x := axis{from: slices.Min(xs) / 1.2, to: slices.Max(xs) * 1.2, start: left, end: width - right}
	y := axis{from: decade(slices.Min(ys)), to: slices.Max(ys) * 1.5, start: height - bottom, end: top}
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="system-ui, sans-serif" font-size="13" fill="%s" role="img">`,
		width, height, width, height, textColour)
	p(`<title>%s</title>`, html.EscapeString(c.Title))
	p(`<rect width="%d" height="%d" rx="8" fill="#ffffff" stroke="%s"/>`, width, height, gridColour)
	p(`<text x="%d" y="28" font-size="16" font-weight="600">%s</text>`, left, html.EscapeString(c.Title))
	for _, v := range y.ticks() {
		at := y.at(v)
		p(`<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="%s"/>`, left, at, width-right, at, gridColour)
		p(`<text x="%d" y="%.1f" text-anchor="end">%s</text>`, left-8, at+4, number(v))
	}
	slices.Sort(xs)
	for _, v := range slices.Compact(xs) {
		at := x.at(v)
		p(`<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="%s"/>`, at, top, at, height-bottom, gridColour)
		p(`<text x="%.1f" y="%d" text-anchor="middle">%s</text>`, at, height-bottom+18, number(v))
	}
	p(`<text x="%d" y="%d" text-anchor="middle">%s</text>`, (left+width-right)/2, height-12, html.EscapeString(c.X))
	p(`<text transform="translate(18 %d) rotate(-90)" text-anchor="middle">%s</text>`, (top+height-bottom)/2, html.EscapeString(c.Y))
	names := labels(c.Series, y)
	for i, s := range c.Series {
		if len(s.Points) == 0 {
			continue
		}
		colour, dash := colours[i%len(colours)], ""
		if s.Faint {
			dash = ` stroke-dasharray="5 4" stroke-opacity="0.75"`
		}
		var line []string
		for _, point := range s.Points {
			line = append(line, fmt.Sprintf("%.1f,%.1f", x.at(point.X), y.at(point.Y)))
			p(`<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"><title>%s: %s</title></circle>`, x.at(point.X), y.at(point.Y), colour, html.EscapeString(s.Name), number(point.Y))
		}
		p(`<polyline points="%s" fill="none" stroke="%s" stroke-width="2"%s/>`, strings.Join(line, " "), colour, dash)
		p(`<text x="%d" y="%.1f" fill="%s">%s</text>`, width-right+12, names[i]+4, colour, html.EscapeString(s.Name))
	}
	p(`</svg>`)
	return b.String()
}

// labels gives each series a height for its name, near its last point and
// apart from the others.
func labels(series []Series, y axis) []float64 {
	const apart = 17
	var order []int
	out := make([]float64, len(series))
	for i, s := range series {
		if len(s.Points) > 0 {
			out[i] = y.at(s.Points[len(s.Points)-1].Y)
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return int(out[a] - out[b]) })
	for k := 1; k < len(order); k++ {
		out[order[k]] = max(out[order[k]], out[order[k-1]]+apart)
	}
	for k, limit := len(order)-1, float64(height-bottom); k >= 0; k-- {
		out[order[k]] = min(out[order[k]], limit)
		limit = out[order[k]] - apart
	}
	return out
}

// axis maps values to places.
type axis struct{ from, to, start, end float64 }

func (a axis) at(v float64) float64 {
	return a.start + (a.end-a.start)*math.Log(v/a.from)/math.Log(a.to/a.from)
}

// ticks are the decades, and what lies between them where there are few.
func (a axis) ticks() []float64 {
	steps := []float64{1}
	if math.Log10(a.to/a.from) < 2.5 {
		steps = []float64{1, 2, 5}
	}
	var out []float64
	for d := decade(a.from); d <= a.to; d *= 10 {
		for _, s := range steps {
			if v := d * s; v >= a.from*0.999 && v <= a.to {
				out = append(out, v)
			}
		}
	}
	return out
}

// decade is the power of ten at or below v.
func decade(v float64) float64 { return math.Pow(10, math.Floor(math.Log10(v)+1e-9)) }

func number(v float64) string {
	digits := strconv.FormatFloat(v, 'g', 3, 64)
	if v >= 1000 {
		digits = strconv.FormatFloat(math.Round(v), 'f', 0, 64)
		for i := len(digits) - 3; i > 0; i -= 3 {
			digits = digits[:i] + " " + digits[i:]
		}
	}
	return digits
}

package plot

import (
	"encoding/xml"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestSVG(t *testing.T) {
	c := Chart{Title: "a < b", X: "apps", Y: "s", Series: []Series{
		{Name: "rises", Points: []Point{{50, 0.02}, {5000, 2}}},
		{Name: "level & even", Points: []Point{{50, 1.9}, {5000, 1.9}}, Faint: true},
		{Name: "nothing"},
	}}
	text := c.SVG()
	d := xml.NewDecoder(strings.NewReader(text))
	counts := map[string]int{}
	var places []string
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if e, ok := token.(xml.StartElement); ok {
			counts[e.Name.Local]++
			if e.Name.Local == "polyline" {
				places = append(places, e.Attr[0].Value)
			}
		}
	}
	if counts["circle"] != 4 || counts["polyline"] != 2 {
		t.Errorf("it has %v", counts)
	}
	if !strings.Contains(places[1], ",") || strings.Split(places[1], ",")[1][:4] != strings.Split(strings.Fields(places[1])[1], ",")[1][:4] {
		t.Errorf("what is level is drawn as %s", places[1])
	}
	if (Chart{}).SVG() != "" {
		t.Error("a drawing of nothing")
	}
}

func TestAxis(t *testing.T) {
	a := axis{from: 1, to: 10000, start: 0, end: 400}
	for v, want := range map[float64]float64{1: 0, 10: 100, 100: 200, 10000: 400} {
		if got := a.at(v); math.Abs(got-want) > 1e-6 {
			t.Errorf("%g is at %g, want %g", v, got, want)
		}
	}
	if got := a.ticks(); !slices.Equal(got, []float64{1, 10, 100, 1000, 10000}) {
		t.Errorf("ticks %v", got)
	}
	if got := (axis{from: 0.9, to: 30}).ticks(); !slices.Equal(got, []float64{1, 2, 5, 10, 20}) {
		t.Errorf("few decades: ticks %v", got)
	}
}

func TestLabelsDoNotTouch(t *testing.T) {
	y := axis{from: 1, to: 100, start: height - bottom, end: top}
	var s []Series
	for _, v := range []float64{1, 1.01, 50, 50, 1.02} {
		s = append(s, Series{Points: []Point{{1, v}}})
	}
	got := labels(s, y)
	slices.Sort(got)
	for i := 1; i < len(got); i++ {
		if got[i]-got[i-1] < 16.9 || got[i] > height-bottom {
			t.Errorf("labels at %v", got)
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0.01: "0.01", 1: "1", 50: "50", 5000: "5 000", 1234567: "1 234 567", 0.0123: "0.0123"} {
		if got := number(v); got != want {
			t.Errorf("%g is %q, want %q", v, got, want)
		}
	}
}

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"plumb.dev/plumb/bench/internal/plot"
)

// The part of the document that is written by publish.
const (
	figuresBegin = "<!-- figures: written by make bench, not by hand -->\n"
	figuresEnd   = "<!-- end of figures -->\n"
)

// peers are figures of others to draw beside: Flux 2.9.4 and Argo CD 3.5.1,
// apps of five objects in one repository, on two cores with the same API
// server. docs/performance.md has them with all that belongs to them.
var peers = struct{ converge, commit, memory []plot.Series }{
	converge: []plot.Series{
		{Name: "Flux 2.9.4", Faint: true, Points: []plot.Point{{X: 200, Y: 21}, {X: 1000, Y: 371}}},
		{Name: "Argo CD 3.5.1", Faint: true, Points: []plot.Point{{X: 200, Y: 69}, {X: 1000, Y: 390}}},
	},
	commit: []plot.Series{
		{Name: "Flux 2.9.4", Faint: true, Points: []plot.Point{{X: 200, Y: 10500}, {X: 1000, Y: 86000}}},
		{Name: "Argo CD 3.5.1", Faint: true, Points: []plot.Point{{X: 200, Y: 10300}, {X: 1000, Y: 17000}}},
	},
	memory: []plot.Series{
		{Name: "Flux 2.9.4", Faint: true, Points: []plot.Point{{X: 200, Y: 270}, {X: 1000, Y: 335}}},
		{Name: "Argo CD 3.5.1", Faint: true, Points: []plot.Point{{X: 200, Y: 980}, {X: 1000, Y: 1230}}},
	},
}

// publish writes the results in files, each as -o json gives it, into a
// document, and draws them into a directory beside it of the same name.
func publish(document string, files []string) error {
	var results []result
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var r result
		if err := json.Unmarshal(data, &r); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		results = append(results, r)
	}
	if len(results) == 0 {
		return fmt.Errorf("--publish: name the files with results")
	}
	slices.SortFunc(results, func(a, b result) int { return cmp.Compare(a.Apps, b.Apps) })
	text, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	before, rest, begins := strings.Cut(string(text), figuresBegin)
	_, after, ends := strings.Cut(rest, figuresEnd)
	if !begins || !ends {
		return fmt.Errorf("%s has no place for figures: a line %q and a line %q", document, strings.TrimSpace(figuresBegin), strings.TrimSpace(figuresEnd))
	}
	dir := strings.TrimSuffix(document, filepath.Ext(document))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var shown strings.Builder
	for _, c := range charts(results) {
		svg := c.SVG()
		if svg == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, c.file), []byte(svg), 0o644); err != nil {
			return err
		}
		fmt.Fprintf(&shown, "\n![%s](%s/%s)\n", c.Title, filepath.Base(dir), c.file)
	}
	return os.WriteFile(document, []byte(before+figuresBegin+figures(results)+shown.String()+figuresEnd+after), 0o644)
}

// row is a line of the table: what, and how it is read off a result; "" where
// it was not measured.
type row struct {
	what string
	of   func(r result) string
}

// figures is the table, a column a result.
func figures(results []result) string {
	var b strings.Builder
	r := results[0]
	beside := "all in one directory"
	if r.Beside > 0 {
		beside = fmt.Sprintf("%d in a directory", r.Beside)
	}
	fmt.Fprintf(&b, "\n%s dialect, %s, apps of %d objects in %d repository(s), %s, %d CPUs; load of the machine before: %s.\n\n",
		r.Dialect, r.Rendering, r.Objects, r.Repositories, beside, r.CPUs, each(results, ", ", func(r result) string { return fmt.Sprintf("%.1f", r.LoadBefore) }))
	fmt.Fprintf(&b, "| N | %s |\n|---|%s\n", each(results, " | ", func(r result) string { return fmt.Sprint(r.Apps) }), strings.Repeat("---:|", len(results)))
	for _, row := range rows {
		line := each(results, " | ", row.of)
		if strings.Trim(line, " |") != "" {
			fmt.Fprintf(&b, "| %s | %s |\n", row.what, line)
		}
	}
	return b.String()
}

func each(results []result, separator string, of func(result) string) string {
	var parts []string
	for _, r := range results {
		parts = append(parts, of(r))
	}
	return strings.Join(parts, separator)
}

// of reads a figure off a part of a result that may not have been measured.
func of[T any](part func(result) *T, format string, values func(result, T) []any) func(result) string {
	return func(r result) string {
		p := part(r)
		if p == nil {
			return ""
		}
		return fmt.Sprintf(format, values(r, *p)...)
	}
}

var rows = []row{
	{"**first convergence**: last app ready, s", of(converged, "%.1f", func(_ result, c converge) []any { return []any{c.Wall} })},
	{"… the same objects applied by 16 bare clients, s", of(floored, "%.1f", func(_ result, c floor) []any { return []any{c.Wall} })},
	{"… as a multiple of that", func(r result) string {
		if r.Floor == nil || r.Converge == nil {
			return ""
		}
		return fmt.Sprintf("%.1f", r.Converge.Wall/r.Floor.Wall)
	}},
	{"… engine, Kubernetes: CPU-s", of(converged, "%.1f, %.1f", func(_ result, c converge) []any { return []any{c.CPUToReady, c.ServerToLive} })},
	{"… bare clients, Kubernetes: CPU-s", of(floored, "%.1f, %.1f", func(_ result, c floor) []any { return []any{c.ClientCPU, c.ServerCPU} })},
	{"… API requests for an app, of these of Kubernetes itself", of(converged, "%.1f, %.1f", func(_ result, c converge) []any { return []any{c.PerApp, c.PerApp - ours(c.ToQuiet)/apps(c)} })},
	{"… of the engine: applies, patches, events for an app", of(converged, "%.2f, %.2f, %.2f", func(r result, c converge) []any {
		n := float64(r.Apps)
		return []any{verb(c.ToQuiet, "APPLY") / n, resources(c.ToQuiet, "PATCH ", "kustomizations", "gitrepositories", "applications") / n, resources(c.ToQuiet, "", "events") / n}
	})},
	{"… applies for an object", of(converged, "%.2f", func(r result, c converge) []any { return []any{verb(c.ToQuiet, "APPLY") / float64(r.Apps*r.Objects)} })},
	{"… Git requests", of(converged, "%s", func(_ result, c converge) []any { return []any{git(c.ToQuiet)} })},
	{"… memory at the peak, MB", of(converged, "%d", func(_ result, c converge) []any { return []any{c.ToQuiet.PeakRSS >> 20} })},
	{"**one-file commit** → live: median, most, ms", of(committed, "%.0f, %.0f", func(_ result, c commit) []any { return []any{c.MedianMS, c.MostMS} })},
	{"… of which `git push`, median, ms", of(committed, "%.0f", func(_ result, c commit) []any { return []any{c.PushMS} })},
	{"… from its end on, median, ms", of(committed, "%.0f", func(_ result, c commit) []any { return []any{c.RestMS} })},
	{"… engine until live, CPU-s", of(committed, "%.3f", func(_ result, c commit) []any { return []any{c.CPUToLive} })},
	{"… engine until what belongs to it is over, CPU-s", of(committed, "%.3f", func(_ result, c commit) []any { return []any{c.Each.CPU} })},
	{"… API requests: applies, statuses, events", of(committed, "%.1f, %.1f, %.1f", func(_ result, c commit) []any {
		return []any{verb(c.Each, "APPLY"), resources(c.Each, "PATCH ", "kustomizations", "gitrepositories", "applications"), resources(c.Each, "", "events")}
	})},
	{"… Git requests", of(committed, "%s", func(_ result, c commit) []any { return []any{git(c.Each)} })},
	{"… bookkeeping afterwards: statuses, s, engine CPU-s", of(committed, "%.0f, %.0f, %.1f", func(_ result, c commit) []any {
		return []any{resources(c.Bookkeeping, "PATCH ", "kustomizations", "applications"), c.Bookkeeping.Seconds, c.Bookkeeping.CPU}
	})},
	{"**drift** → restored: median, p99, ms", of(drifted, "%.0f, %.0f", func(_ result, d drift) []any { return []any{d.MedianMS, d.P99MS} })},
	{"… engine, CPU-s; API requests", of(drifted, "%.3f; %.1f", func(_ result, d drift) []any { return []any{d.ToQuiet.CPU, d.ToQuiet.Total} })},
	{"**idle**, a minute: engine CPU-s; API requests", func(r result) string {
		if r.Idle == nil {
			return ""
		}
		return fmt.Sprintf("%.3f; %.0f", r.Idle.CPU*60/r.Idle.Seconds, r.Idle.Total)
	}},
	{"… memory, MB", of(func(r result) *cost { return r.Idle }, "%d", func(_ result, c cost) []any { return []any{c.RSS >> 20} })},
	{"**restart**: steady after the kill, s", of(restarted, "%.1f", func(_ result, s restart) []any { return []any{s.Steady} })},
	{"… writes; engine CPU-s; memory at the peak, MB", of(restarted, "%.0f; %.1f; %d", func(_ result, s restart) []any {
		return []any{s.ToQuiet.Writes, s.ToQuiet.CPU, s.ToQuiet.PeakRSS >> 20}
	})},
}

func converged(r result) *converge { return r.Converge }
func committed(r result) *commit   { return r.Commit }
func drifted(r result) *drift      { return r.Drift }
func restarted(r result) *restart  { return r.Restart }
func floored(r result) *floor      { return r.Floor }

// apps is how many a convergence was of.
func apps(c converge) float64 { return c.ToQuiet.Total / c.PerApp }

// ours is how many requests were those of an engine: what it applies, the
// custom resources, and events.
func ours(c cost) float64 {
	return verb(c, "APPLY") + resources(c, "PATCH ", "kustomizations", "gitrepositories", "applications") + resources(c, "", "events")
}

func verb(c cost, name string) float64 { return c.ByVerb[name] }

// resources counts the requests about some resources, subresources included.
func resources(c cost, verb string, names ...string) float64 {
	sum := 0.0
	for key, n := range c.Requests {
		_, resource, _ := strings.Cut(key, " ")
		resource, _, _ = strings.Cut(resource, "/")
		if strings.HasPrefix(key, verb) && slices.Contains(names, resource) {
			sum += n
		}
	}
	return sum
}

func git(c cost) string {
	if c.GitRequests == nil {
		return "?"
	}
	return fmt.Sprint(*c.GitRequests)
}

type chart struct {
	plot.Chart
	file string
}

// charts are the drawings of a document.
func charts(results []result) []chart {
	line := func(name string, faint bool, value func(result) (float64, bool)) plot.Series {
		s := plot.Series{Name: name, Faint: faint}
		for _, r := range results {
			if v, ok := value(r); ok && v > 0 {
				s.Points = append(s.Points, plot.Point{X: float64(r.Apps), Y: v})
			}
		}
		return s
	}
	commitTo := func(value func(commit) float64) func(result) (float64, bool) {
		return func(r result) (float64, bool) {
			if r.Commit == nil {
				return 0, false
			}
			return value(*r.Commit), true
		}
	}
	convergeTo := func(value func(converge) float64) func(result) (float64, bool) {
		return func(r result) (float64, bool) {
			if r.Converge == nil {
				return 0, false
			}
			return value(*r.Converge), true
		}
	}
	const n = "apps in one repository"
	return []chart{
		{plot.Chart{Title: "One-file commit, from git push until it is live", X: n, Y: "milliseconds, median", Series: append([]plot.Series{
			line("Plumb", false, commitTo(func(c commit) float64 { return c.MedianMS })),
		}, peers.commit...)}, "commit.svg"},
		{plot.Chart{Title: "CPU of the engine for a one-file commit", X: n, Y: "CPU-seconds", Series: []plot.Series{
			line("until it is live", false, commitTo(func(c commit) float64 { return c.CPUToLive })),
			line("until its own statuses are", false, commitTo(func(c commit) float64 { return c.Each.CPU })),
			line("bookkeeping after it", true, commitTo(func(c commit) float64 { return c.Bookkeeping.CPU })),
		}}, "commit-cpu.svg"},
		{plot.Chart{Title: "First convergence", X: n, Y: "seconds", Series: append([]plot.Series{
			line("Plumb", false, convergeTo(func(c converge) float64 { return c.Wall })),
			line("bare clients", true, func(r result) (float64, bool) {
				if r.Floor == nil {
					return 0, false
				}
				return r.Floor.Wall, true
			}),
		}, peers.converge...)}, "converge.svg"},
		{plot.Chart{Title: "CPU of the first convergence", X: n, Y: "CPU-seconds", Series: []plot.Series{
			line("Plumb's engine", false, convergeTo(func(c converge) float64 { return c.CPUToReady })),
			line("Kubernetes", true, convergeTo(func(c converge) float64 { return c.ServerToLive })),
		}}, "converge-cpu.svg"},
		{plot.Chart{Title: "Memory at the peak of the first convergence", X: n, Y: "MB", Series: append([]plot.Series{
			line("Plumb", false, convergeTo(func(c converge) float64 { return float64(c.ToQuiet.PeakRSS) / (1 << 20) })),
		}, peers.memory...)}, "memory.svg"},
	}
}

package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"plumb.dev/plumb/bench/internal/meter"
)

// result is what was measured. Scenarios that were left out are nil.
type result struct {
	Apps         int     `json:"apps"`
	Objects      int     `json:"objectsPerApp"`
	Repositories int     `json:"repositories"`
	Dialect      string  `json:"dialect"`
	Beside       int     `json:"beside"`    // apps in one directory of the repository, 0 for all
	Rendering    string  `json:"rendering"` // kustomize or plain
	CPUs         int     `json:"cpus"`
	LoadBefore   float64 `json:"loadBefore"` // of the machine, before anything was started
	// ControlPlane is what the parts of Kubernetes itself ask for each app,
	// about its objects. It is in the requests that follow.
	ControlPlane meter.Requests `json:"controlPlaneRequestsPerApp,omitempty"`

	Converge *converge `json:"converge,omitempty"`
	Commit   *commit   `json:"commit,omitempty"`
	Drift    *drift    `json:"drift,omitempty"`
	Idle     *cost     `json:"idle,omitempty"`
	Restart  *restart  `json:"restart,omitempty"`
	Floor    *floor    `json:"floor,omitempty"`
	Releases *releases `json:"releases,omitempty"`
}

// cost is what something took until it was quiet again.
type cost struct {
	Seconds     float64        `json:"seconds"`
	CPU         float64        `json:"controllerCPUSeconds"`
	ServerCPU   float64        `json:"serverCPUSeconds,omitempty"`
	PeakRSS     int64          `json:"peakRSSBytes,omitempty"`
	RSS         int64          `json:"rssBytes,omitempty"` // at the end
	Requests    meter.Requests `json:"requests"`
	ByVerb      meter.Requests `json:"requestsByVerb"`
	Total       float64        `json:"requestsTotal"`
	Writes      float64        `json:"writes"` // events left out
	GitRequests *int64         `json:"gitRequests,omitempty"`
}

type converge struct {
	Wall         float64 `json:"wallSeconds"`      // from the first app's creation until the last is ready
	Created      float64 `json:"createdSeconds"`   // by then this command had created all apps
	HalfReady    float64 `json:"halfReadySeconds"` // until half of them were ready
	CPUToReady   float64 `json:"controllerCPUSecondsToReady"`
	ServerToLive float64 `json:"serverCPUSecondsToReady,omitempty"`
	PerApp       float64 `json:"requestsPerApp"`
	// Net leaves out what the control plane asks by itself.
	Net     float64 `json:"requestsPerAppNet"`
	ToQuiet cost    `json:"toQuiet"`
}

type commit struct {
	Tries       int     `json:"tries"`
	MedianMS    float64 `json:"medianMilliseconds"` // from the start of git push until the object is live
	MostMS      float64 `json:"mostMilliseconds"`
	PushMS      float64 `json:"ofWhichPushMedianMilliseconds"`
	RestMS      float64 `json:"fromEndOfPushMedianMilliseconds"`
	MedianQuiet float64 `json:"medianSecondsToQuiet"`
	CPUToLive   float64 `json:"controllerCPUSecondsToLive"` // mean
	// Each is the mean cost of a commit until what belongs to it is over, and
	// Bookkeeping that of what follows until it is quiet.
	Each        cost `json:"each"`
	Bookkeeping cost `json:"bookkeepingEach"`
}

// floor is the same objects applied by bare clients, sixteen at a time.
type floor struct {
	Wall      float64 `json:"wallSeconds"` // until the last apply was answered
	ClientCPU float64 `json:"clientCPUSeconds"`
	ServerCPU float64 `json:"serverCPUSeconds,omitempty"`
	// What Kubernetes does because of them goes on.
	ToQuiet          float64 `json:"secondsToQuiet"`
	ServerCPUToQuiet float64 `json:"serverCPUSecondsToQuiet,omitempty"`
}

type drift struct {
	Tries    int     `json:"tries"`
	MedianMS float64 `json:"medianMilliseconds"` // from the start of the change until it is undone
	P99MS    float64 `json:"p99Milliseconds"`
	MostMS   float64 `json:"mostMilliseconds"`
	ToQuiet  cost    `json:"toQuietEach"` // mean of all tries
}

type restart struct {
	Back    float64 `json:"backSeconds"`   // from the kill until its process runs again, and says so
	Steady  float64 `json:"steadySeconds"` // from the kill until it has become quiet
	ToQuiet cost    `json:"toQuiet"`
	// NextCommitMS shows that it works again.
	NextCommitMS float64 `json:"nextCommitMilliseconds"`
}

// each divides a cost by the number of tries.
func (c cost) each(n int) cost {
	f := 1 / float64(n)
	c.Seconds, c.CPU, c.ServerCPU, c.Total, c.Writes = c.Seconds*f, c.CPU*f, c.ServerCPU*f, c.Total*f, c.Writes*f
	c.Requests, c.ByVerb = c.Requests.Times(f), c.ByVerb.Times(f)
	if c.GitRequests != nil {
		each := (*c.GitRequests + int64(n)/2) / int64(n)
		c.GitRequests = &each
	}
	return c
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// print is for people.
func (r result) print(out io.Writer) {
	p := func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
	p("%d apps of %d objects, %d repositories, %s, %s; %d CPUs, load before %.1f", r.Apps, r.Objects, r.Repositories, r.Dialect, r.Rendering, r.CPUs, r.LoadBefore)
	if r.ControlPlane != nil {
		p("Kubernetes itself asks about each app's objects: %s", list(r.ControlPlane))
	}
	if c := r.Converge; c != nil {
		p("converge  %.2f s until all are ready (half: %.2f s; all created: %.2f s); controller %.2f CPU-s, API server %.2f CPU-s until then",
			c.Wall, c.HalfReady, c.Created, c.CPUToReady, c.ServerToLive)
		p("          %.1f requests per app, %.1f without those of Kubernetes itself; quiet after %.2f s", c.PerApp, c.Net, c.ToQuiet.Seconds)
		c.ToQuiet.print(p)
	}
	if c := r.Releases; c != nil {
		p("releases  %d Helm releases: %.2f s until all are ready (half: %.2f s)", c.Count, c.Wall, c.HalfReady)
		c.ToQuiet.print(p)
		p("          upgrade by other values, one at a time: median %.1f ms to live, most %.1f ms; each:", c.UpgradeMS, c.UpgradeMostMS)
		c.UpgradeEach.print(p)
	}
	if c := r.Commit; c != nil {
		p("commit    median %.1f ms to live, most %.1f ms (n=%d; git push itself %.1f ms); %.3f CPU-s of the controller until then; quiet after %.2f s",
			c.MedianMS, c.MostMS, c.Tries, c.PushMS, c.CPUToLive, c.MedianQuiet)
		c.Each.print(p)
		p("          and until the statuses of the other apps name it:")
		c.Bookkeeping.print(p)
	}
	if d := r.Drift; d != nil {
		p("drift     median %.1f ms to restored, p99 %.1f ms, most %.1f ms (n=%d)", d.MedianMS, d.P99MS, d.MostMS, d.Tries)
		d.ToQuiet.print(p)
	}
	if c := r.Idle; c != nil {
		p("idle      for %.0f s", c.Seconds)
		c.print(p)
	}
	if s := r.Restart; s != nil {
		p("restart   steady %.2f s after the kill (process back: %.2f s); %.0f writes; next commit live in %.1f ms", s.Steady, s.Back, s.ToQuiet.Writes, s.NextCommitMS)
		s.ToQuiet.print(p)
	}
	if c := r.Floor; c != nil {
		p("floor     %.2f s to apply the same objects by bare clients: %.2f CPU-s of theirs, %.2f of the API server, %.2f until quiet (%.2f s)",
			c.Wall, c.ClientCPU, c.ServerCPU, c.ServerCPUToQuiet, c.ToQuiet)
	}
}

func (c cost) print(p func(string, ...any)) {
	git := ""
	if c.GitRequests != nil {
		git = fmt.Sprintf("; %d Git requests", *c.GitRequests)
	}
	p("          controller %.3f CPU-s, API server %.2f CPU-s, RSS %d MB, peak %d MB; %.1f requests, %.1f writes%s",
		c.CPU, c.ServerCPU, c.RSS>>20, c.PeakRSS>>20, c.Total, c.Writes, git)
	if len(c.Requests) > 0 {
		p("          %s", list(c.Requests))
	}
}

func list(r meter.Requests) string {
	var parts []string
	for _, k := range r.Keys() {
		parts = append(parts, fmt.Sprintf("%s %.4g", k, r[k]))
	}
	return strings.Join(parts, ", ")
}

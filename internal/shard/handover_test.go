package shard

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// history is what the API server has: all states of the members, in order.
type history struct{ states [][]Member }

func (h *history) last() []Member { return h.states[len(h.states)-1] }

func (h *history) change(f func([]Member) []Member) {
	h.states = append(h.states, f(slices.Clone(h.last())))
}

// process is one member in the model: it sees the history late, and takes its
// time for each step.
type process struct {
	*Handover
	seen  int  // how far it has seen the history
	step  Step // under way
	done  bool // the narrowing of it, not yet its acknowledgement
	works Share
	ended bool
}

// TestNobodyWorksBesideAnother runs members that come, go and are late, in
// random order, and looks at each instant whether two work on one partition.
func TestNobodyWorksBesideAnother(t *testing.T) {
	total := 0
	for seed := range uint64(60) {
		problem, widened := simulate(seed)
		if problem != "" {
			t.Fatalf("seed %d: %s", seed, problem)
		}
		total += widened
	}
	if total < 500 {
		t.Errorf("only %d handovers", total)
	}
}

// A set of members comes back while one of them, late, still acknowledges the
// set in between. It must not take the states that it has yet to see, which
// show that set agreed upon, for the present.
func TestLateAcknowledgement(t *testing.T) {
	a, b, c := NewHandover("a", "1"), NewHandover("b", "1"), NewHandover("c", "1")
	two := []Member{{Name: "a", Incarnation: "1"}, {Name: "b", Incarnation: "1"}}
	first := a.See(two).Acknowledge
	two[0].Acknowledged, two[1].Acknowledged = first, b.See(two).Acknowledge
	if !a.See(two).Widen || !b.See(two).Widen {
		t.Fatal("two do not agree")
	}
	three := append(slices.Clone(two), Member{Name: "c", Incarnation: "1"})
	three[0].Acknowledged, three[2].Acknowledged = a.See(three).Acknowledge, c.See(three).Acknowledge
	late := b.See(three).Acknowledge
	if late == "" {
		t.Fatal("b does not acknowledge")
	}
	// c leaves, and a, to which b still shows the old acknowledgement, goes on.
	two[0].Acknowledged = a.See(two).Acknowledge
	if two[0].Acknowledged == first || !a.See(two).Widen {
		t.Fatal("a does not go on")
	}
	// What b acknowledged takes effect now; what it sees is older.
	if step := b.See(three); step.Widen {
		t.Error("b works on what a has: it does not see its own acknowledgement")
	}
	two[1].Acknowledged = late
	if step := b.See(two); !step.Narrow || step.Acknowledge == late {
		t.Errorf("b sees the present and does %+v", step)
	}
}

func simulate(seed uint64) (problem string, widened int) {
	random := rand.New(rand.NewPCG(seed, 5))
	server := &history{states: [][]Member{nil}}
	var processes []*process
	incarnation := 0
	join := func(name string) {
		incarnation++
		id := fmt.Sprint(incarnation)
		for _, p := range processes { // a restart under the same name
			if p.self.Name == name {
				p.ended, p.works = true, Share{}
			}
		}
		processes = append(processes, &process{Handover: NewHandover(name, id), seen: len(server.states) - 1})
		server.change(func(m []Member) []Member {
			m = slices.DeleteFunc(m, func(m Member) bool { return m.Name == name })
			return append(m, Member{Name: name, Incarnation: id})
		})
	}
	leave := func(p *process) {
		p.ended, p.works = true, Share{}
		server.change(func(m []Member) []Member {
			return slices.DeleteFunc(m, func(m Member) bool { return m.Incarnation == p.self.Incarnation })
		})
	}
	for range 3 {
		join(fmt.Sprint("replica-", incarnation))
	}
	for range 400 {
		processes = slices.DeleteFunc(processes, func(p *process) bool { return p.ended })
		switch n := random.IntN(60); {
		case n == 0 && len(processes) < 6:
			join(fmt.Sprint("replica-", random.IntN(8), "-", incarnation%2))
		case n == 1 && len(processes) > 1:
			leave(processes[random.IntN(len(processes))])
		case len(processes) > 0:
			p := processes[random.IntN(len(processes))]
			widened += p.advance(random, server)
		}
		var busy Share
		for _, p := range processes {
			if both := busy.And(p.works); both.Len() > 0 {
				return fmt.Sprintf("%d partitions have two at work", both.Len()), widened
			}
			for i := range busy {
				busy[i] |= p.works[i]
			}
		}
	}
	return "", widened
}

// advance ends the step that is under way, or sees more of the history.
func (p *process) advance(random *rand.Rand, server *history) (widened int) {
	switch step := p.step; {
	case step.Narrow && !p.done:
		p.works, p.done = step.Share, true
		return 0
	case step.Narrow:
		p.done = false
		server.change(func(all []Member) []Member {
			for i := range all {
				if all[i].Incarnation == p.self.Incarnation {
					all[i].Acknowledged = step.Acknowledge
				}
			}
			return all
		})
		p.step = Step{}
		return 0
	case step.Widen:
		p.works, p.step = step.Share, Step{}
		return 1
	}
	if left := len(server.states) - 1 - p.seen; left > 0 {
		p.seen += 1 + random.IntN(min(left, 2))
		p.step = p.See(slices.Clone(server.states[p.seen]))
	}
	return 0
}

// Members that only watch come to an agreement in which all is owned.
func TestAgreement(t *testing.T) {
	server := &history{states: [][]Member{nil}}
	random := rand.New(rand.NewPCG(6, 7))
	var processes []*process
	for i := range 4 {
		name := fmt.Sprint("replica-", i)
		processes = append(processes, &process{Handover: NewHandover(name, "a")})
		server.change(func(m []Member) []Member { return append(m, Member{Name: name, Incarnation: "a"}) })
	}
	for range 2000 {
		p := processes[random.IntN(len(processes))]
		if server.states[p.seen] == nil && p.seen == 0 {
			p.seen = len(server.states) - 1
			p.step = p.See(slices.Clone(server.last()))
			continue
		}
		p.advance(random, server)
	}
	var all Share
	for _, p := range processes {
		if !p.Engaged() {
			t.Errorf("%s has not begun", p.self.Name)
		}
		for i := range all {
			all[i] |= p.works[i]
		}
	}
	if all != All() {
		t.Errorf("%d of %d partitions are worked on", all.Len(), Partitions)
	}
}

package plan

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// position is where a step comes in a plan.
type position struct {
	stage int // kinds that must be ready before the others
	wave  int
	rank  int // kind order
}

func (p position) compare(o position) int {
	return cmp.Or(cmp.Compare(p.wave, o.wave), cmp.Compare(p.stage, o.stage), cmp.Compare(p.rank, o.rank))
}

// placer finds positions by a policy's order.
type placer struct {
	order app.Order
	waves []string
}

func (p placer) at(ref object.Ref, note func(key string) string) position {
	return position{stage: p.stage(ref), wave: p.wave(note), rank: p.rank(ref)}
}

func (p placer) stage(ref object.Ref) int {
	for i, kinds := range p.order.Stages {
		if slices.Contains(kinds, ref.Kind) {
			return i
		}
	}
	// A definition, and a namespace, come before what they hold, whatever the
	// order says, but within their wave.
	return len(p.order.Stages)
}

func (p placer) rank(ref object.Ref) int {
	if i := slices.Index(p.order.First, ref.Kind); i >= 0 {
		return i
	}
	if i := slices.Index(p.order.Last, ref.Kind); i >= 0 {
		return len(p.order.First) + 1 + i
	}
	return len(p.order.First)
}

// wave is the first wave annotation that parses as an integer, else 0.
func (p placer) wave(note func(key string) string) int {
	for _, key := range p.waves {
		if n, err := strconv.Atoi(strings.TrimSpace(note(key))); err == nil {
			return n
		}
	}
	return 0
}

func compareStrings(pairs ...string) int {
	for i := 0; i+1 < len(pairs); i += 2 {
		if c := strings.Compare(pairs[i], pairs[i+1]); c != 0 {
			return c
		}
	}
	return 0
}

// effects finds what the switches on an object say. note and label look a key
// up, in the desired or in the live object.
type effects map[app.Effect]bool

func effectsOf(switches []app.Switch, labels, annotations map[string]string) effects {
	var out effects
	for _, s := range switches {
		value, ok := annotations[s.Key]
		if !ok && s.Label {
			value, ok = labels[s.Key]
		}
		if !ok {
			continue
		}
		values := []string{value}
		if s.List {
			values = strings.Split(value, ",")
		}
		for _, v := range values {
			if strings.EqualFold(strings.TrimSpace(v), s.Value) {
				if out == nil {
					out = effects{}
				}
				out[s.Effect] = true
			}
		}
	}
	return out
}

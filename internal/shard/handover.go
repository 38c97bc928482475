package shard

import (
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
)

// Member is a replica as all others see it.
type Member struct {
	// Name decides what the member owns. It stays the same over restarts.
	Name string
	// Incarnation is another one with every start and every lapse.
	Incarnation string
	// Acknowledged is the last Step.Acknowledge that the member published; ""
	// if none.
	Acknowledged string
}

// Step is what a member has to do next, in the order of the fields. The zero
// value is nothing.
type Step struct {
	// Narrow: stop working on what is not in Share, and wait until that has
	// ended. Then publish Acknowledge.
	Narrow      bool
	Acknowledge string
	// Widen: begin to work on all of Share.
	Widen bool
	Share Share
	// Lost: the member is not among the members any more. It must stop
	// everything, and join anew.
	Lost bool
}

// Handover decides for one member when it gives up work and when it begins
// any. No two members ever work on the same partition, provided that
//
//   - each is told states of the members that did exist, one after the other,
//     though it may be late and states may be left out,
//   - each finishes a step before it asks for the next one, and what it
//     publishes takes effect in the order in which it publishes it,
//   - a member that is not among the members any more has stopped, or is kept
//     from doing anything.
//
// Why: a member works on something new only in a state of the members in which
// all of them, itself included, have acknowledged the same set of members. It
// acknowledges another set only when it has stopped what is not its own in
// that. So two members that work on the same thing would have to have begun in
// two such states with different sets; between the two, whoever began in the
// earlier acknowledged the later set, and so had stopped.
//
// A member that acted on what it has published, rather than on a state that
// shows it published, would break this: by the time its acknowledgement takes
// effect the set may be another, and the others at work in that.
type Handover struct {
	self    Member
	view    string // the set of members that was acted on last
	issued  string // the last acknowledgement
	count   int    // of acknowledgements, which makes them different
	share   Share  // what is worked on
	engaged bool   // all of what is owned in view
}

// NewHandover is for a member that works on nothing yet.
func NewHandover(name, incarnation string) *Handover {
	return &Handover{self: Member{Name: name, Incarnation: incarnation}}
}

// Share is what the member may work on.
func (h *Handover) Share() Share { return h.share }

// Engaged reports whether the member has begun all that it owns.
func (h *Handover) Engaged() bool { return h.engaged }

// See says what follows from the state of the members.
func (h *Handover) See(members []Member) Step {
	at := slices.IndexFunc(members, func(m Member) bool {
		return m.Name == h.self.Name && m.Incarnation == h.self.Incarnation
	})
	if at < 0 {
		return Step{Lost: true}
	}
	view := viewOf(members)
	if view != h.view {
		h.view, h.engaged = view, false
		h.share = h.share.And(h.own(members))
		h.count++
		h.issued = view + " " + strconv.Itoa(h.count)
		return Step{Narrow: true, Share: h.share, Acknowledge: h.issued}
	}
	if h.engaged || members[at].Acknowledged != h.issued {
		return Step{}
	}
	for _, m := range members {
		if acknowledged, _, _ := strings.Cut(m.Acknowledged, " "); acknowledged != view {
			return Step{}
		}
	}
	h.engaged, h.share = true, h.own(members)
	return Step{Widen: true, Share: h.share}
}

func (h *Handover) own(members []Member) Share {
	names := make([]string, 0, len(members))
	for _, m := range members {
		names = append(names, m.Name)
	}
	return Assign(names)[h.self.Name]
}

// viewOf names a set of members.
func viewOf(members []Member) string {
	set := []string{scheme}
	for _, m := range members {
		set = append(set, m.Name+"\x01"+m.Incarnation)
	}
	slices.Sort(set[1:])
	return hex.EncodeToString(hash(set...)[:8])
}

package cluster

// wantedLeast is how many names a store remembers without an object at least.
const wantedLeast = 4096

// wanted are names of objects that do not exist and whose appearance is of
// interest: they were asked for, or they were ours and vanished. There may be
// any number of them in time, so the oldest are dropped: at least as many stay
// as there are objects, and wantedLeast.
//
// What is lost with a name is little. An object that we write is remembered
// because we own part of it; one that somebody else makes counts as foreign
// then, and the next who asks for it reads it. Nothing is ever taken not to
// exist for want of a name.
type wanted struct {
	young, old map[name]struct{}
}

func (w *wanted) has(n name) bool {
	_, young := w.young[n]
	_, old := w.old[n]
	return young || old
}

// add takes in a name; objects is how many the store remembers.
func (w *wanted) add(n name, objects int) {
	if w.young == nil || len(w.young) >= max(wantedLeast, objects) {
		w.young, w.old = map[name]struct{}{}, w.young
	}
	w.young[n] = struct{}{}
}

func (w *wanted) remove(n name) {
	delete(w.young, n)
	delete(w.old, n)
}

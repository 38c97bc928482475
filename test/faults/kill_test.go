package faults

import (
	"testing"
	"time"
)

// rounds of TestKillsAmidFaults.
const rounds = 10

// TestKillsAmidFaults kills the engine at random moments while something is
// wrong, and starts it again while that lasts.
func TestKillsAmidFaults(t *testing.T) {
	s := begin(t)
	all := faults()
	for range rounds {
		f := all[s.random.IntN(len(all))]
		t.Run(f.name, func(t *testing.T) {
			s.T = t
			defer func() { s.T = s.root }()
			log := s.AuditEnd()
			end := f.begin(s)
			ended := false
			defer func() {
				if !ended {
					end()
				}
			}()
			for range 1 + s.random.IntN(3) {
				if !f.quiet {
					s.Commit(s.random)
				}
				s.pause()
				s.StopEngine()
				s.BeginEngine()
				s.pause()
			}
			end()
			ended = true
			s.EngineReady()
			s.Converged(s.Head())
			s.sound(log)
		})
	}
}

// pause is as long as many things take.
func (s *suite) pause() {
	timer := time.NewTimer(time.Duration(s.random.IntN(700)) * time.Millisecond)
	<-timer.C
}

package meter

import (
	"math"
	"slices"
	"time"
)

// Times are durations of the same thing done again and again.
type Times []time.Duration

// Quantile is the smallest that a share q of them does not exceed; 0 if there
// are none.
func (t Times) Quantile(q float64) time.Duration {
	if len(t) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(t))
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

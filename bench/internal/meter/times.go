package meter

import (
	"slices"
	"time"
)

// Times are durations of the same thing done again and again.
type Times []time.Duration

// Quantile is the one below which a share q of them is; 0 if there are none.
func (t Times) Quantile(q float64) time.Duration {
	if len(t) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(t))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

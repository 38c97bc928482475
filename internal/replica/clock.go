package replica

import "time"

// began is any instant to count from.
var began = time.Now()

// elapsed is the time since an instant, by the monotonic clock or the one on
// the wall, whichever says more: the first may stand still while the machine
// is suspended, the second may be put back. Put forward, it closes the fence
// early, which does no harm. Successive values may decrease by what the wall
// clock is put back; who counts intervals long enough to matter is then late.
func elapsed() time.Duration {
	now := time.Now()
	return max(now.Sub(began), now.Round(0).Sub(began.Round(0)))
}

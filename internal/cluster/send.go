package cluster

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
)

// How a request is made again.
const (
	resendFirst = 50 * time.Millisecond
	// The wait that the API server asks for is granted up to here; a longer one
	// is left to whoever plans the next try (app.Failure.Retry).
	resendMost = 5 * time.Second
)

// send makes a request, and makes it again if it did not come through. Every
// request of this package may be made twice: reads and dry runs anyway, an
// apply sets what it sets, a deletion that finds nothing is done, and the other
// writes name the version of the object that they change. resent reports
// whether an earlier attempt may have been carried out.
func (w *Writer) send(ctx context.Context, request *rest.Request) (result rest.Result, resent bool) {
	request = request.MaxRetries(0) // client-go's own would wait in whole seconds, all at the same time
	for try := 0; ; try++ {
		limited, cancel := w.bounded(ctx)
		result = request.Do(limited)
		cancel()
		err := result.Error()
		pause, again := resend(err, try)
		if !again || ctx.Err() != nil {
			return result, resent
		}
		resent = resent || !apierrors.IsTooManyRequests(err)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return result, resent
		}
	}
}

// resend tells whether a failed attempt is worth another, and when. Requests
// that took their whole time are not: that the server is away, the breaker
// finds out.
func resend(err error, try int) (pause time.Duration, again bool) {
	var away *unavailable
	var none *noToken
	var api apierrors.APIStatus
	most := 2
	switch {
	case err == nil, errors.As(err, &away), errors.As(err, &none), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, errNoAnswer):
		return 0, false
	case !errors.As(err, &api): // the connection failed
	case apierrors.IsTooManyRequests(err):
		most = 5
	case apierrors.IsServiceUnavailable(err), apierrors.IsServerTimeout(err):
	case apierrors.IsInternalError(err), api.Status().Code == 502, api.Status().Code == 500:
		if text := api.Status().Message; unparsable(text) || strings.Contains(text, "failed calling webhook") {
			return 0, false
		}
	default:
		return 0, false
	}
	pause = resendFirst << try
	if asked := retryAfter(err); asked > resendMost {
		return 0, false
	} else if asked > pause {
		pause = asked
	}
	return time.Duration(float64(pause) * (1 + rand.Float64()/2)), try < most
}

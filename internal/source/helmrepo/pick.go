package helmrepo

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/Masterminds/semver/v3"
)

// ErrNoVersion says that no version is as asked for.
var ErrNoVersion = errors.New("no such version")

// Pick gives the version that a constraint asks for: the one of exactly that
// name, else the highest in the range; "" and "*" leave out pre-releases, as do
// all ranges that name none. Of equal versions the one created last counts.
// Versions that are none are passed over. The error is ErrNoVersion, or that of
// a constraint which is none.
func Pick(versions []Version, constraint string) (Version, error) {
	for _, v := range versions {
		if constraint != "" && v.Version == constraint {
			return v, nil
		}
	}
	within, err := semver.NewConstraint(cmp.Or(constraint, "*"))
	if err != nil {
		return Version{}, fmt.Errorf("%q is no version and no range of versions: %w", constraint, err)
	}
	var best Version
	var highest *semver.Version
	for _, v := range versions {
		number, err := semver.NewVersion(v.Version)
		if err != nil || !within.Check(number) {
			continue
		}
		if highest != nil {
			order := number.Compare(highest)
			if order < 0 || order == 0 && !v.Created.After(best.Created) {
				continue
			}
		}
		best, highest = v, number
	}
	if highest == nil {
		return Version{}, ErrNoVersion
	}
	return best, nil
}

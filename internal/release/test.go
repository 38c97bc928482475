package release

import (
	"errors"

	"helm.sh/helm/v4/pkg/action"

	"plumb.dev/plumb/internal/app"
)

// test runs the tests of the newest revision that the policy selects.
func (s *session) test() error {
	if len(s.memory.History) == 0 {
		return errNotOurs
	}
	newest := s.memory.History[0]
	var results map[string]app.ReleaseTested
	err := s.run(func() error {
		last, err := typed(s.config.Releases.Last(s.r.Name))
		if err != nil {
			return err
		}
		if last.Version != newest.Version {
			return errNotOurs
		}
		chosen := tests(last, s.r.Test)
		if len(chosen) == 0 {
			results = chosen
			return nil // Helm would take no filter for all tests
		}
		run := action.NewReleaseTesting(s.config)
		run.Namespace, run.Timeout, run.WaitOptions = s.r.Namespace, s.result.Timeout, s.waitOptions()
		if len(s.r.Test.Filters) > 0 {
			for name := range chosen {
				run.Filters[action.IncludeNameFilter] = append(run.Filters[action.IncludeNameFilter], name)
			}
		}
		rel, shutdown, err := run.Run(s.r.Name)
		err = errors.Join(err, shutdown())
		if tested, _ := typed(rel, nil); tested != nil && tested.Version == newest.Version {
			results = tests(tested, s.r.Test)
		}
		return err
	})
	s.recall()
	if results != nil {
		s.memory.History[0].Tested, s.memory.History[0].Tests = true, results
	}
	s.result.Release = s.memory.History[0]
	s.result.Tests = len(results)
	for _, t := range results {
		if t.Phase == "Failed" {
			s.result.TestsFailed++
		}
	}
	if err == nil {
		return nil
	}
	if s.result.TestsFailed > 0 {
		err = app.Fail(app.StageHealth, app.ReasonTests, "%w", err)
	}
	s.stored = s.memory.History[0].HasBeenTested()
	if s.stored && (Situation{Release: s.r}).testsCount() {
		if s.memory.Attempt.Action == app.ReleaseInstall {
			s.memory.InstallFailures++
		} else {
			s.memory.UpgradeFailures++
		}
	}
	return err
}

// errNotOurs: someone else was at the release since it was looked at.
var errNotOurs = errors.New("the newest revision is not the one that was looked at")

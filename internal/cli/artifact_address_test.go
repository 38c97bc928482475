package cli

import "testing"

func TestArtifactAddress(t *testing.T) {
	for address, ok := range map[string]bool{
		"": true, "http://plumb.plumb-system.svc.cluster.local.": true, "https://host:8443/plumb": true,
		"host": false, "ftp://host": false, "http://": false, "http://user@host": false, "http://host?x=1": false, "http://host#x": false,
	} {
		if err := checkArtifactAddress(address); (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		}
	}
}

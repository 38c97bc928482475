package app

import (
	"testing"

	"plumb.dev/plumb/internal/object"
)

func TestRecordText(t *testing.T) {
	for _, c := range []struct {
		record Record
		text   string
	}{
		{Record{Ref: object.Ref{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "api"}, Version: "v1", Desired: "0123", Owned: "4567"},
			"shop_api_apps_Deployment v1 0123 4567"},
		{Record{Ref: object.Ref{Kind: "Namespace", Name: "shop"}, Version: "v1"},
			"_shop__Namespace v1 - -"},
		{Record{Ref: object.Ref{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "system:a::b"}, Version: "v1"},
			"_system__a____b_rbac.authorization.k8s.io_ClusterRole v1 - -"},
		{Record{Ref: object.Ref{Group: "rbac.authorization.k8s.io", Kind: "Role", Namespace: "n", Name: "odd name_x"}},
			"n_odd%20name%5Fx_rbac.authorization.k8s.io_Role - - -"},
	} {
		if got := FormatRecord(c.record); got != c.text {
			t.Errorf("FormatRecord(%v) = %q, want %q", c.record, got, c.text)
		}
		got, err := ParseRecord(c.text)
		if err != nil || got != c.record {
			t.Errorf("ParseRecord(%q) = %v, %v; want %v", c.text, got, err, c.record)
		}
	}
}

func TestParseRecordRefuses(t *testing.T) {
	for _, text := range []string{
		"", "a b c d", "ns_name_group_Kind v1 -", "ns_name_group_Kind v1 - - -", "ns_name_group_Kind v1  -",
		"ns_name_group_ v1 - -", "ns__group_Kind v1 - -", "ns_a_b_group_Kind v1 - -",
	} {
		if r, err := ParseRecord(text); err == nil {
			t.Errorf("ParseRecord(%q) = %v, want an error", text, r)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add("shop_api_apps_Deployment v1 0123 4567")
	f.Add("_system__a____b_rbac.authorization.k8s.io_ClusterRole v1 - -")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRecord(text)
		if err != nil {
			return
		}
		again, err := ParseRecord(FormatRecord(r))
		if err != nil || again != r {
			t.Errorf("%q: %v came back as %v, %v", text, r, again, err)
		}
	})
}

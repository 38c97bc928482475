package app

// HelmRepository is set if the source is a Helm repository at Source.URL.
type HelmRepository struct {
	// OCI: the charts are in an OCI registry. There is no index to look at, and
	// the source is nothing but an address, with credentials, that charts use.
	OCI bool
	// PassCredentials sends them to whatever host the index names.
	PassCredentials bool
	Insecure        bool // with OCI: plain HTTP
	// Keychain is a Docker configuration (config.json) with credentials, of OCI.
	Keychain []byte
}

// Static reports whether there is nothing to look at: the source only tells
// others where to look.
func (s Source) Static() bool { return s.HelmRepository != nil && s.HelmRepository.OCI }

// HelmChart says which chart of the one source that it uses is delivered, and
// how it is made ready. What is delivered is the directory of the chart.
type HelmChart struct {
	// Chart is a name in a Helm repository; of other sources, the path of a
	// directory or of an archive.
	Chart string
	// Version is a version, or a range of them, in a Helm repository; "" is the
	// highest that is no pre-release.
	Version string
	// ValuesFiles take the place of the chart's own values, a later one over
	// those before. They are files of the chart if it comes from a Helm
	// repository, otherwise of the source.
	ValuesFiles   []string
	IgnoreMissing bool // leave out ValuesFiles that do not exist
	// ByRevision makes each revision of the source another version of the
	// chart. Otherwise what has the same version counts as the same, whatever
	// changed in it. It means nothing with a Helm repository.
	ByRevision bool
	// Verify, if set, lets only a chart count that is signed. It is for OCI
	// registries.
	Verify *OCIVerification
	// Generation of the resource that asks: the chart is made anew with it.
	Generation int64
}

// Packs reports whether ValuesFiles change the chart. The one file values.yaml
// does not.
func (c HelmChart) Packs() bool {
	return len(c.ValuesFiles) > 1 || len(c.ValuesFiles) == 1 && c.ValuesFiles[0] != "values.yaml" && c.ValuesFiles[0] != "./values.yaml"
}

// ChartRevision tells of a chart beyond its version.
type ChartRevision struct {
	Name string
	// Packed: it is not the archive that someone published, but made from files.
	Packed      bool
	ValuesFiles []string // that its values were made of
	Source      Revision // of what it was found in; zero without an index
}

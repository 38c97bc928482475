package app

// Bucket says which objects of the S3-compatible store at Source.URL
// (https://host or http://host) are delivered. The keys are Source.Auth's
// Username and Password.
type Bucket struct {
	Name   string
	Region string // "" is what the store says
	Prefix string // objects whose keys begin otherwise are left out
}

// External is an artifact that someone else has made, and tells of.
type External struct {
	ID       SourceID
	URL      string
	Digest   string // algorithm:hexadecimal
	Revision string // as it is told
}

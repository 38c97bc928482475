package notation

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"slices"

	"github.com/notaryproject/notation-core-go/revocation"
	"github.com/notaryproject/notation-core-go/revocation/crl"
	"github.com/notaryproject/notation-core-go/revocation/purpose"
	"github.com/notaryproject/notation-core-go/revocation/result"
	"github.com/notaryproject/notation-go/verifier"
)

// maxChain bounds the certificates of a signature that are asked about.
const maxChain = 10

// revocation has certificates looked up over transport.
func (p *Policy) revocation(transport http.RoundTripper) (verifier.VerifierOptions, error) {
	var out verifier.VerifierOptions
	client := &http.Client{Transport: transport, Timeout: checkTimeout}
	lists, err := crl.NewHTTPFetcher(client)
	if err != nil {
		return out, err
	}
	by := func(purpose purpose.Purpose) (revocation.Validator, error) {
		v, err := revocation.NewWithOptions(revocation.Options{OCSPHTTPClient: client, CRLFetcher: lists, CertChainPurpose: purpose})
		return known{p, v}, err
	}
	if out.RevocationCodeSigningValidator, err = by(purpose.CodeSigning); err != nil {
		return out, err
	}
	out.RevocationTimestampingValidator, err = by(purpose.Timestamping)
	return out, err
}

// known asks only about certificates of an authority that the policy names: the
// addresses to ask are in the certificates, and whoever can write to the registry
// would choose where the engine goes.
type known struct {
	policy *Policy
	revocation.Validator
}

// ValidateContext implements revocation.Validator.
func (k known) ValidateContext(ctx context.Context, opts revocation.ValidateContextOptions) ([]*result.CertRevocationResult, error) {
	chain := opts.CertChain
	if len(chain) == 0 || len(chain) > maxChain {
		return nil, errors.New("the chain of certificates is empty or too long")
	}
	if !slices.ContainsFunc(k.policy.certificates, func(c *x509.Certificate) bool {
		return slices.ContainsFunc(chain, c.Equal)
	}) {
		return nil, errors.New("no authority of the certificate is trusted")
	}
	for i, c := range chain[:len(chain)-1] {
		if err := c.CheckSignatureFrom(chain[i+1]); err != nil {
			return nil, errors.New("the chain of certificates is broken")
		}
	}
	return k.Validator.ValidateContext(ctx, opts)
}

// Package signer makes signatures as cosign does without keys, and as Notation
// does, for tests: with authorities, logs and certificates of its own, and
// without a network. Nothing else may use it.
package signer

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"time"

	bundlepb "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	commonpb "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	dssepb "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"google.golang.org/protobuf/encoding/protojson"

	"plumb.dev/plumb/internal/sandbox/ociserver"
)

// Sigstore is an authority that gives certificates for ten minutes, a
// transparency log, and an authority for time stamps.
type Sigstore struct{ instance *ca.VirtualSigstore }

// NewSigstore makes one, whose time is that of the process.
func NewSigstore() (*Sigstore, error) {
	instance, err := ca.NewVirtualSigstore()
	return &Sigstore{instance}, err
}

// TrustedRoot is its trusted_root.json. With certificates logged, it asks that a
// log knows each certificate; of those that are made here none does.
func (s *Sigstore) TrustedRoot(certificatesLogged bool) ([]byte, error) {
	logs := func(of map[string]*root.TransparencyLog) (map[string]*root.TransparencyLog, error) {
		for id, log := range of {
			raw, err := hex.DecodeString(id)
			if err != nil {
				return nil, err
			}
			log.ID = raw
		}
		return of, nil
	}
	rekor, err := logs(s.instance.RekorLogs())
	if err != nil {
		return nil, err
	}
	ct := map[string]*root.TransparencyLog{}
	if certificatesLogged {
		if ct, err = logs(s.instance.CTLogs()); err != nil {
			return nil, err
		}
	}
	trusted, err := root.NewTrustedRoot(root.TrustedRootMediaType01, s.instance.FulcioCertificateAuthorities(), ct, s.instance.TimestampingAuthorities(), rekor)
	if err != nil {
		return nil, err
	}
	return trusted.MarshalJSON()
}

// Bundle signs a statement as someone on the word of an issuer, as cosign does by
// default since version 3. The log has seen it after some time.
func (s *Sigstore) Bundle(subject, issuer string, statement []byte, after time.Duration) ([]byte, error) {
	entity, err := s.instance.AttestAtTime(subject, issuer, statement, time.Now().Add(after), true)
	if err != nil {
		return nil, err
	}
	material, err := s.materialOf(entity)
	if err != nil {
		return nil, err
	}
	content, err := entity.SignatureContent()
	if err != nil {
		return nil, err
	}
	envelope := content.EnvelopeContent().RawEnvelope()
	return protojson.Marshal(&bundlepb.Bundle{
		MediaType: "application/vnd.dev.sigstore.bundle.v0.3+json", VerificationMaterial: material,
		Content: &bundlepb.Bundle_DsseEnvelope{DsseEnvelope: &dssepb.Envelope{
			Payload: statement, PayloadType: envelope.PayloadType, Signatures: []*dssepb.Signature{{Sig: content.Signature()}},
		}},
	})
}

func (s *Sigstore) materialOf(entity verify.SignedEntity) (*bundlepb.VerificationMaterial, error) {
	by, err := entity.VerificationContent()
	if err != nil {
		return nil, err
	}
	entries, err := entity.TlogEntries()
	if err != nil {
		return nil, err
	}
	stamps, err := entity.Timestamps()
	if err != nil {
		return nil, err
	}
	out := &bundlepb.VerificationMaterial{
		Content:                   &bundlepb.VerificationMaterial_Certificate{Certificate: &commonpb.X509Certificate{RawBytes: by.Certificate().Raw}},
		TimestampVerificationData: &bundlepb.TimestampVerificationData{},
	}
	for _, e := range entries {
		entry, err := s.promised(e.TransparencyLogEntry())
		if err != nil {
			return nil, err
		}
		out.TlogEntries = append(out.TlogEntries, entry)
	}
	for _, t := range stamps {
		out.TimestampVerificationData.Rfc3161Timestamps = append(out.TimestampVerificationData.Rfc3161Timestamps, &commonpb.RFC3161SignedTimestamp{SignedTimestamp: t})
	}
	return out, nil
}

// promised is an entry of the log with what the instance leaves out of it: what
// it is of, and the log's word that it has it.
func (s *Sigstore) promised(e *rekorpb.TransparencyLogEntry) (*rekorpb.TransparencyLogEntry, error) {
	var kind struct{ Kind, APIVersion string }
	if err := json.Unmarshal(e.CanonicalizedBody, &kind); err != nil {
		return nil, err
	}
	promise, err := s.instance.RekorSignPayload(tlog.RekorPayload{
		Body: base64.StdEncoding.EncodeToString(e.CanonicalizedBody), IntegratedTime: e.IntegratedTime,
		LogIndex: e.LogIndex, LogID: hex.EncodeToString(e.LogId.KeyId),
	})
	e.KindVersion = &rekorpb.KindVersion{Kind: kind.Kind, Version: kind.APIVersion}
	e.InclusionPromise = &rekorpb.InclusionPromise{SignedEntryTimestamp: promise}
	return e, err
}

// Layer signs a payload, as cosign did by default until version 2. The log has
// seen it after some time.
func (s *Sigstore) Layer(subject, issuer string, payload []byte, after time.Duration) (ociserver.Layer, error) {
	entity, err := s.instance.SignAtTime(subject, issuer, payload, time.Now().Add(after))
	if err != nil {
		return ociserver.Layer{}, err
	}
	material, err := s.materialOf(entity)
	if err != nil {
		return ociserver.Layer{}, err
	}
	content, err := entity.SignatureContent()
	if err != nil {
		return ociserver.Layer{}, err
	}
	by, err := entity.VerificationContent()
	if err != nil {
		return ociserver.Layer{}, err
	}
	certificate, err := cryptoutils.MarshalCertificateToPEM(by.Certificate())
	if err != nil {
		return ociserver.Layer{}, err
	}
	log, err := logAnnotation(material.TlogEntries[0])
	if err != nil {
		return ociserver.Layer{}, err
	}
	return ociserver.Layer{
		Type: "application/vnd.dev.cosign.simplesigning.v1+json", Data: payload,
		Annotations: map[string]string{
			"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(content.Signature()),
			"dev.sigstore.cosign/certificate":    string(certificate),
			"dev.sigstore.cosign/bundle":         string(log),
		},
	}, nil
}

// logAnnotation is what cosign writes of an entry of the log.
func logAnnotation(e *rekorpb.TransparencyLogEntry) ([]byte, error) {
	return json.Marshal(map[string]any{
		"SignedEntryTimestamp": e.InclusionPromise.SignedEntryTimestamp,
		"Payload": map[string]any{
			"body": e.CanonicalizedBody, "integratedTime": e.IntegratedTime, "logIndex": e.LogIndex, "logID": hex.EncodeToString(e.LogId.KeyId),
		},
	})
}

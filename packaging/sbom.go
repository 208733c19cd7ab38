package main

import (
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// document is an SPDX 2.3 document, as far as it is used here.
type document struct {
	SPDXVersion       string         `json:"spdxVersion"`
	DataLicense       string         `json:"dataLicense"`
	SPDXID            string         `json:"SPDXID"`
	Name              string         `json:"name"`
	DocumentNamespace string         `json:"documentNamespace"`
	CreationInfo      creationInfo   `json:"creationInfo"`
	Packages          []spdxPackage  `json:"packages"`
	Relationships     []relationship `json:"relationships"`
}

type creationInfo struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type spdxPackage struct {
	SPDXID                string        `json:"SPDXID"`
	Name                  string        `json:"name"`
	VersionInfo           string        `json:"versionInfo,omitempty"`
	PackageFileName       string        `json:"packageFileName,omitempty"`
	PrimaryPackagePurpose string        `json:"primaryPackagePurpose"`
	DownloadLocation      string        `json:"downloadLocation"`
	FilesAnalyzed         bool          `json:"filesAnalyzed"`
	Checksums             []checksum    `json:"checksums,omitempty"`
	ExternalRefs          []externalRef `json:"externalRefs,omitempty"`
	Comment               string        `json:"comment,omitempty"`
}

type checksum struct {
	Algorithm     string `json:"algorithm"`
	ChecksumValue string `json:"checksumValue"`
}

type externalRef struct {
	ReferenceCategory string `json:"referenceCategory"`
	ReferenceType     string `json:"referenceType"`
	ReferenceLocator  string `json:"referenceLocator"`
}

type relationship struct {
	SpdxElementID      string `json:"spdxElementId"`
	RelationshipType   string `json:"relationshipType"`
	RelatedSpdxElement string `json:"relatedSpdxElement"`
}

const (
	documentID  = "SPDXRef-DOCUMENT"
	noAssertion = "NOASSERTION"
)

// writeSBOM lists the modules that the linker put into each binary, and the Go release
// whose standard library they have. Of licences it asserts nothing.
func writeSBOM(out io.Writer, name string, at time.Time, binaries []string) error {
	if name == "" {
		return errors.New("say with -name what the SBOM is of")
	}
	d := document{
		SPDXVersion: "SPDX-2.3", DataLicense: "CC0-1.0", SPDXID: documentID, Name: name,
		CreationInfo: creationInfo{Created: at.UTC().Format(time.RFC3339), Creators: []string{"Tool: twohop-packaging-1.0"}},
	}
	identity := sha256.New()
	modules := map[string]spdxPackage{}
	for _, path := range binaries {
		info, err := buildinfo.ReadFile(path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		sum, err := fileSHA256(path)
		if err != nil {
			return err
		}
		binary := describe(filepath.Base(path), sum, info)
		fmt.Fprintf(identity, "%s %s\n", binary.Name, sum)
		d.Packages = append(d.Packages, binary)
		d.relate(documentID, "DESCRIBES", binary.SPDXID)
		for _, m := range append(info.Deps, &debug.Module{Path: "stdlib", Version: strings.TrimPrefix(info.GoVersion, "go")}) {
			p := module(m)
			modules[p.SPDXID] = p
			d.relate(binary.SPDXID, "DEPENDS_ON", p.SPDXID)
		}
	}
	sorted := make([]spdxPackage, 0, len(modules))
	for _, p := range modules {
		sorted = append(sorted, p)
	}
	slices.SortFunc(sorted, func(a, b spdxPackage) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.VersionInfo, b.VersionInfo), cmp.Compare(a.SPDXID, b.SPDXID))
	})
	d.Packages = append(d.Packages, sorted...)
	d.DocumentNamespace = "urn:uuid:" + uuid(identity.Sum(nil))
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(d)
}

func (d *document) relate(from, how, to string) {
	d.Relationships = append(d.Relationships, relationship{from, how, to})
}

// describe is the package of a binary.
func describe(name, sum string, info *buildinfo.BuildInfo) spdxPackage {
	p := spdxPackage{
		SPDXID: "SPDXRef-binary-" + name, Name: name, PackageFileName: name, PrimaryPackagePurpose: "APPLICATION",
		DownloadLocation: noAssertion, Checksums: []checksum{{"SHA256", sum}},
		Comment: "built by " + info.GoVersion + " from package " + info.Path,
	}
	if v := info.Main.Version; v != "(devel)" {
		p.VersionInfo = v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "GOOS", "GOARCH", "-tags", "vcs.revision", "vcs.modified":
			p.Comment += ", " + s.Key + "=" + s.Value
		}
	}
	return p
}

// module is the package of what was compiled: of a module that is replaced, the other
// one.
func module(m *debug.Module) spdxPackage {
	comment := ""
	if m.Replace != nil {
		comment = "in place of " + m.Path + " " + m.Version
		m = m.Replace
	}
	if m.Sum != "" {
		comment = strings.TrimPrefix(comment+"; go.sum: "+m.Sum, "; ")
	}
	identity := sha256.Sum256([]byte(m.Path + "@" + m.Version + " " + comment))
	p := spdxPackage{
		SPDXID: "SPDXRef-module-" + hex.EncodeToString(identity[:8]), Name: m.Path, VersionInfo: m.Version,
		PrimaryPackagePurpose: "LIBRARY", DownloadLocation: noAssertion, Comment: comment,
	}
	if m.Version != "" && m.Version != "(devel)" {
		p.ExternalRefs = []externalRef{{"PACKAGE-MANAGER", "purl", purl(m)}}
	}
	return p
}

// purl is the module's package URL: lower case, and escaped where it has to be.
func purl(m *debug.Module) string {
	parts := strings.Split(strings.ToLower(m.Path), "/")
	for i, part := range parts {
		parts[i] = url.QueryEscape(part)
	}
	return "pkg:golang/" + strings.Join(parts, "/") + "@" + url.QueryEscape(m.Version)
}

// uuid makes one of a hash (version 8, RFC 9562).
func uuid(hash []byte) string {
	b := slices.Clone(hash[:16])
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

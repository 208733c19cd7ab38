package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"twohop/internal/audit"
	"twohop/internal/objects"
)

// group is what one check says of one object, however many hosts and proxies show it:
// for whoever changes the object it is one thing to do.
type group struct {
	audit.Finding // the worst, which stands for all
	Variants      []variant
	Members       []audit.Finding
}

// variant is one place in the object to change, and where that was seen.
type variant struct {
	audit.Finding
	Places []place
	// Repeats says that the patch is the one of the variant before: it may stand for the
	// whole object.
	Repeats bool
}

// grouped gives the findings of one status, the worst first and otherwise in the
// report's order.
func grouped(r *audit.Report, status audit.Status) []group {
	type key struct {
		id, title string
		object    objects.Ref
	}
	at := map[key]int{}
	var groups []group
	for _, f := range sorted(r.Findings) {
		if f.Status != status {
			continue
		}
		k := key{f.ID, f.Title, f.Object}
		i, known := at[k]
		if !known {
			i = len(groups)
			at[k] = i
			groups = append(groups, group{Finding: f})
		}
		groups[i].add(f)
	}
	return groups
}

func (g *group) add(f audit.Finding) {
	g.Members = append(g.Members, f)
	i := slices.IndexFunc(g.Variants, func(v variant) bool { return v.sameChange(f) })
	if i < 0 {
		v := variant{Finding: f}
		if i = len(g.Variants); i > 0 {
			v.Repeats = g.Variants[i-1].Patch == f.Patch
		}
		g.Variants = append(g.Variants, v)
	}
	g.Variants[i].seenAt(f)
}

// place is where a finding was seen: on a host's hop, by one proxy or several.
type place struct {
	Where   string
	Proxies []string
}

func (p place) String() string {
	proxies := listed(p.Proxies, 4)
	if p.Where == "" || proxies == "" {
		return p.Where + proxies
	}
	return p.Where + ": " + proxies
}

func placeOf(f audit.Finding) place {
	p := place{Where: f.Host}
	// A finding of no host is not on the way of a call, and around none either.
	if f.Host != "" {
		p.Where += ", " + hopName(f.Hop)
	}
	if f.Proxy != "" {
		p.Proxies = []string{f.Proxy}
	}
	return p
}

func (v *variant) seenAt(f audit.Finding) {
	p := placeOf(f)
	for i := range v.Places {
		if known := &v.Places[i]; known.Where == p.Where {
			if f.Proxy != "" && !slices.Contains(known.Proxies, f.Proxy) {
				known.Proxies = append(known.Proxies, f.Proxy)
			}
			return
		}
	}
	if p.String() != "" {
		v.Places = append(v.Places, p)
	}
}

// places are where a variant was seen, few enough to read.
func places(v variant, sep string) string {
	const most = 4
	var words []string
	for i, p := range v.Places {
		if i == most {
			words = append(words, fmt.Sprintf("%d more", len(v.Places)-most))
			break
		}
		words = append(words, p.String())
	}
	return strings.Join(words, sep)
}

func (v variant) sameChange(f audit.Finding) bool {
	return v.File == f.File && v.Line == f.Line && v.Field == f.Field &&
		v.Seen == f.Seen && v.Wanted == f.Wanted && v.Patch == f.Patch
}

func hopName(hop int) string {
	if hop == 0 {
		return "around the gateway"
	}
	return fmt.Sprintf("hop %d", hop)
}

// sorted puts what failed before what is unknown, and that before what is excepted.
func sorted(findings []audit.Finding) []audit.Finding {
	statuses, severities := []audit.Status{audit.Fail, audit.Unknown, audit.Excepted}, audit.Severities()
	return slices.SortedStableFunc(slices.Values(findings), func(a, b audit.Finding) int {
		return cmp.Or(
			cmp.Compare(slices.Index(statuses, a.Status), slices.Index(statuses, b.Status)),
			cmp.Compare(slices.Index(severities, a.Severity), slices.Index(severities, b.Severity)),
		)
	})
}

// position is the file and line of a finding; empty for an object without a file.
func position(f audit.Finding) string {
	if f.File == "" {
		return ""
	}
	// Editors jump to a line, and want one.
	return fmt.Sprintf("%s:%d", f.File, max(f.Line, 1))
}

// target is the object and the field to change.
func target(f audit.Finding) string {
	if f.Object == (objects.Ref{}) {
		return f.Field
	}
	if f.Object.Name == "" {
		// There is none: that is the finding.
		where := ""
		if f.Object.Namespace != "" {
			where = " in namespace " + f.Object.Namespace
		}
		return "no " + f.Object.Kind + where
	}
	return strings.TrimSpace(f.Object.String() + " " + f.Field)
}

// source says by what an exception holds, and until when.
func source(e *audit.Exception) string {
	if e == nil {
		return "no reason given"
	}
	return fmt.Sprintf("%s (%s, until %s)", e.Reason, e.Owner, e.Expires)
}

// because is why a finding matters, with the claim that measured it.
func because(f audit.Finding) string {
	why := f.Why
	if why != "" && !strings.HasSuffix(why, ".") {
		why += "."
	}
	if f.Claim != "" {
		why += " Measured by claim " + f.Claim + "."
	}
	return strings.TrimSpace(why)
}

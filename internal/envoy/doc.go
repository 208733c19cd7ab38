// Package envoy reads what the witnesses of a request print: a proxy's config
// dump, secrets, stats, hosts and access log, the partner's log and answer, and
// curl's own word about a transfer. It turns bytes into values and nothing
// else: it opens no connection and no file, and it must not import Kubernetes
// clients, Gomega or anything of the project.
//
// What is absent stays absent: optional values are pointers, a cluster that is
// not there is an *AbsentError, a section that is not there is a
// *NoSectionError, and whatever cannot be parsed is an error that quotes it.
package envoy

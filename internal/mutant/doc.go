// Package mutant lists the faults by which the harness itself is tried, and says
// which claims have to turn under each. It is data and its table: it plants
// nothing, knows no cluster, and must not import anything of the project but the
// registry.
package mutant

package trial

import (
	"context"
	"fmt"
	"net/url"
	"regexp"

	"twohop/internal/envoy"
	"twohop/internal/observe"
	"twohop/internal/verdict"
)

// Counter reads one of a proxy's counters or gauges, and says where the answer
// was kept. A name that the proxy does not print is an error: it may not be
// collected at all.
func (t *T) Counter(ctx context.Context, p *observe.Proxy, name string) (value uint64, path string, err error) {
	raw, path, err := t.admin(ctx, p, "stats.txt", verdict.KindText, "/stats?filter="+url.QueryEscape("^"+regexp.QuoteMeta(name)+"$"))
	if err != nil {
		return 0, "", err
	}
	stats, err := envoy.ParseStats(raw)
	if err != nil {
		return 0, "", fmt.Errorf("%s: %w", t.who(p), err)
	}
	value, ok := stats.Value(name)
	if !ok {
		return 0, "", fmt.Errorf("%s prints no statistic %s", t.who(p), name)
	}
	return value, path, nil
}

// ClusterStat is Envoy's name for a statistic of a cluster: Istio ends a
// cluster's own part of the name with a semicolon (pilot/pkg/networking/core,
// alt_stat_name).
func ClusterStat(cluster, name string) string { return "cluster." + cluster + ";." + name }

package envoy

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// httpOptions is the key under which a cluster keeps its HTTP options.
const httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

// Cluster is one upstream of a proxy.
type Cluster struct {
	proto   *clusterv3.Cluster
	version string
}

// Name is Envoy's name of the cluster, such as "outbound|443||example.com".
func (c *Cluster) Name() string { return c.proto.GetName() }

// Proto is the whole cluster. It is shared: do not change it.
func (c *Cluster) Proto() *clusterv3.Cluster { return c.proto }

// Version is the version of the update that brought the cluster; empty for a
// static cluster and for what istioctl prints.
func (c *Cluster) Version() string { return c.version }

// Type is the kind of discovery, such as "STRICT_DNS" or "EDS"; for a custom
// type its name.
func (c *Cluster) Type() string {
	if t := c.proto.GetClusterType(); t != nil {
		return t.GetName()
	}
	return c.proto.GetType().String()
}

// DestinationRule is the path of the DestinationRule that istiod says it
// applied, "/apis/…/namespaces/NS/destination-rule/NAME"; false where it
// applied none.
func (c *Cluster) DestinationRule() (string, bool) {
	fields := c.proto.GetMetadata().GetFilterMetadata()["istio"].GetFields()
	config, ok := fields["config"]
	if !ok || config.GetStringValue() == "" {
		return "", false
	}
	return config.GetStringValue(), true
}

// Endpoints returns the addresses in the cluster's own load assignment, as
// "host:port" or "unix://path" or "envoy://listener/endpoint"; none for EDS,
// whose endpoints are not in the cluster.
func (c *Cluster) Endpoints() []string {
	var found []string
	for _, locality := range c.proto.GetLoadAssignment().GetEndpoints() {
		for _, e := range locality.GetLbEndpoints() {
			found = append(found, address(e.GetEndpoint().GetAddress()))
		}
	}
	return found
}

func address(a *corev3.Address) string {
	switch {
	case a.GetSocketAddress() != nil:
		s := a.GetSocketAddress()
		port := s.GetNamedPort()
		if port == "" {
			port = strconv.FormatUint(uint64(s.GetPortValue()), 10)
		}
		return joinHostPort(s.GetAddress(), port)
	case a.GetPipe() != nil:
		return "unix://" + a.GetPipe().GetPath()
	case a.GetEnvoyInternalAddress() != nil:
		i := a.GetEnvoyInternalAddress()
		return "envoy://" + i.GetServerListenerName() + "/" + i.GetEndpointId()
	}
	return "(no address)"
}

func joinHostPort(host, port string) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + port
}

// Pool is every value of a cluster that a connectionPool or an
// outlierDetection sets, and how it speaks HTTP. What is nil is not there.
type Pool struct {
	// Thresholds of the default priority.
	MaxConnections     *uint32
	MaxPendingRequests *uint32
	MaxRequests        *uint32
	MaxRetries         *uint32

	ConnectTimeout *time.Duration
	Keepalive      *Keepalive

	// From the HTTP options.
	IdleTimeout              *time.Duration
	MaxConnectionDuration    *time.Duration
	MaxRequestsPerConnection *uint32
	MaxConcurrentStreams     *uint32 // of an HTTP/2 connection
	Protocol                 Protocol
	AutoSNI                  bool
	AutoSANValidation        bool

	Outlier *Outlier
}

// Beyond lists what limits the cluster apart from maxConnections, connectTimeout
// and tcpKeepalive: limits below Istio's "unlimited", and HTTP settings. Where a
// threshold is absent, or all of them, Envoy's default applies, which is a limit too
// (source/common/upstream/upstream_impl.cc, ResourceManagers::load).
func (p Pool) Beyond() (set []string) {
	for _, limit := range []struct {
		name   string
		at     *uint32
		absent uint32
	}{{"maxPendingRequests", p.MaxPendingRequests, 1024}, {"maxRequests", p.MaxRequests, 1024}, {"maxRetries", p.MaxRetries, 3}} {
		switch {
		case limit.at == nil:
			set = append(set, fmt.Sprintf("%s %d, by Envoy's default", limit.name, limit.absent))
		case *limit.at != math.MaxUint32:
			set = append(set, fmt.Sprintf("%s %d", limit.name, *limit.at))
		}
	}
	if p.IdleTimeout != nil {
		set = append(set, "idleTimeout "+p.IdleTimeout.String())
	}
	if p.MaxConnectionDuration != nil {
		set = append(set, "maxConnectionDuration "+p.MaxConnectionDuration.String())
	}
	if p.MaxRequestsPerConnection != nil {
		set = append(set, fmt.Sprintf("maxRequestsPerConnection %d", *p.MaxRequestsPerConnection))
	}
	if p.Outlier != nil {
		set = append(set, "outlierDetection")
	}
	return set
}

// Protocol is how a cluster chooses the HTTP version of its connections.
type Protocol string

// The choices.
const (
	ProtocolUnset         Protocol = "" // no HTTP options: Envoy speaks HTTP/1.1
	ProtocolHTTP1         Protocol = "http1"
	ProtocolHTTP2         Protocol = "http2"
	ProtocolHTTP3         Protocol = "http3"
	ProtocolUseDownstream Protocol = "use-downstream"
	ProtocolAuto          Protocol = "auto" // by ALPN
)

// Keepalive is the TCP keepalive of a cluster's sockets.
type Keepalive struct {
	Time     *time.Duration // idle time before the first probe
	Interval *time.Duration
	Probes   *uint32
}

// Outlier is a cluster's outlier detection; its values are Envoy's, nil where
// the cluster leaves them to Envoy's defaults.
type Outlier struct {
	Consecutive5xx               *uint32
	ConsecutiveGatewayFailure    *uint32
	ConsecutiveLocalOriginFail   *uint32
	Interval                     *time.Duration
	BaseEjectionTime             *time.Duration
	MaxEjectionPercent           *uint32
	EnforcingConsecutive5xx      *uint32
	EnforcingConsecutiveGateway  *uint32
	EnforcingSuccessRate         *uint32
	SplitExternalLocalOriginErrs bool
	// PanicPercent is the share of healthy hosts below which the cluster uses
	// ejected ones too; nil is Envoy's default of 50.
	PanicPercent *float64
}

// Pool reads the cluster's pool. It errs only where the cluster contradicts
// itself or its HTTP options cannot be read.
func (c *Cluster) Pool() (Pool, error) {
	p := Pool{
		ConnectTimeout: duration(c.proto.GetConnectTimeout()),
		Keepalive:      keepalive(c.proto.GetUpstreamConnectionOptions().GetTcpKeepalive()),
		Outlier:        outlier(c.proto.GetOutlierDetection()),
	}
	if t := c.proto.GetCommonLbConfig().GetHealthyPanicThreshold(); t != nil && p.Outlier != nil {
		percent := t.GetValue()
		p.Outlier.PanicPercent = &percent
	}
	seen := false
	for _, t := range c.proto.GetCircuitBreakers().GetThresholds() {
		if t.GetPriority() != corev3.RoutingPriority_DEFAULT {
			continue
		}
		if seen {
			return Pool{}, fmt.Errorf("cluster %q has two thresholds of the default priority", c.Name())
		}
		seen = true
		p.MaxConnections = number(t.GetMaxConnections())
		p.MaxPendingRequests = number(t.GetMaxPendingRequests())
		p.MaxRequests = number(t.GetMaxRequests())
		p.MaxRetries = number(t.GetMaxRetries())
	}
	options, ok := c.proto.GetTypedExtensionProtocolOptions()[httpOptions]
	if !ok {
		return p, nil
	}
	h := &httpv3.HttpProtocolOptions{}
	if err := options.UnmarshalTo(h); err != nil {
		return Pool{}, fmt.Errorf("cluster %q: %s: %w", c.Name(), httpOptions, err)
	}
	common := h.GetCommonHttpProtocolOptions()
	p.IdleTimeout = duration(common.GetIdleTimeout())
	p.MaxConnectionDuration = duration(common.GetMaxConnectionDuration())
	p.MaxRequestsPerConnection = number(common.GetMaxRequestsPerConnection())
	p.AutoSNI = h.GetUpstreamHttpProtocolOptions().GetAutoSni()
	p.AutoSANValidation = h.GetUpstreamHttpProtocolOptions().GetAutoSanValidation()
	var http2 *corev3.Http2ProtocolOptions
	switch o := h.GetUpstreamProtocolOptions().(type) {
	case nil:
	case *httpv3.HttpProtocolOptions_ExplicitHttpConfig_:
		switch e := o.ExplicitHttpConfig.GetProtocolConfig().(type) {
		case *httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions:
			p.Protocol = ProtocolHTTP1
		case *httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions:
			p.Protocol, http2 = ProtocolHTTP2, e.Http2ProtocolOptions
		case *httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http3ProtocolOptions:
			p.Protocol = ProtocolHTTP3
		default:
			return Pool{}, fmt.Errorf("cluster %q: explicit HTTP config of unknown kind %T", c.Name(), e)
		}
	case *httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig:
		p.Protocol, http2 = ProtocolUseDownstream, o.UseDownstreamProtocolConfig.GetHttp2ProtocolOptions()
	case *httpv3.HttpProtocolOptions_AutoConfig:
		p.Protocol, http2 = ProtocolAuto, o.AutoConfig.GetHttp2ProtocolOptions()
	default:
		return Pool{}, fmt.Errorf("cluster %q: HTTP protocol choice of unknown kind %T", c.Name(), o)
	}
	p.MaxConcurrentStreams = number(http2.GetMaxConcurrentStreams())
	return p, nil
}

// String renders what is set, for failure texts and facts.
func (p Pool) String() string {
	var parts []string
	add := func(name string, set bool, value func() string) {
		if set {
			parts = append(parts, name+"="+value())
		}
	}
	num := func(name string, v *uint32) {
		add(name, v != nil, func() string { return strconv.FormatUint(uint64(*v), 10) })
	}
	dur := func(name string, v *time.Duration) {
		add(name, v != nil, func() string { return v.String() })
	}
	num("maxConnections", p.MaxConnections)
	num("maxPendingRequests", p.MaxPendingRequests)
	num("maxRequests", p.MaxRequests)
	num("maxRetries", p.MaxRetries)
	dur("connectTimeout", p.ConnectTimeout)
	if p.Keepalive != nil {
		parts = append(parts, "tcpKeepalive="+p.Keepalive.String())
	}
	dur("idleTimeout", p.IdleTimeout)
	dur("maxConnectionDuration", p.MaxConnectionDuration)
	num("maxRequestsPerConnection", p.MaxRequestsPerConnection)
	num("maxConcurrentStreams", p.MaxConcurrentStreams)
	add("protocol", p.Protocol != "", func() string { return string(p.Protocol) })
	add("autoSNI", p.AutoSNI, func() string { return "true" })
	add("autoSANValidation", p.AutoSANValidation, func() string { return "true" })
	add("outlier", p.Outlier != nil, func() string { return "set" })
	if len(parts) == 0 {
		return "nothing set"
	}
	return strings.Join(parts, " ")
}

// String renders seconds as the guide writes them: time/interval/probes, with
// "-" for what is not set.
func (k *Keepalive) String() string {
	if k == nil {
		return "none"
	}
	seconds := func(d *time.Duration) string {
		if d == nil {
			return "-"
		}
		return strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
	}
	probes := "-"
	if k.Probes != nil {
		probes = strconv.FormatUint(uint64(*k.Probes), 10)
	}
	return seconds(k.Time) + "/" + seconds(k.Interval) + "/" + probes
}

func keepalive(k *corev3.TcpKeepalive) *Keepalive {
	if k == nil {
		return nil
	}
	return &Keepalive{
		Time:     seconds(k.GetKeepaliveTime()),
		Interval: seconds(k.GetKeepaliveInterval()),
		Probes:   number(k.GetKeepaliveProbes()),
	}
}

func outlier(o *clusterv3.OutlierDetection) *Outlier {
	if o == nil {
		return nil
	}
	return &Outlier{
		Consecutive5xx:               number(o.GetConsecutive_5Xx()),
		ConsecutiveGatewayFailure:    number(o.GetConsecutiveGatewayFailure()),
		ConsecutiveLocalOriginFail:   number(o.GetConsecutiveLocalOriginFailure()),
		Interval:                     duration(o.GetInterval()),
		BaseEjectionTime:             duration(o.GetBaseEjectionTime()),
		MaxEjectionPercent:           number(o.GetMaxEjectionPercent()),
		EnforcingConsecutive5xx:      number(o.GetEnforcingConsecutive_5Xx()),
		EnforcingConsecutiveGateway:  number(o.GetEnforcingConsecutiveGatewayFailure()),
		EnforcingSuccessRate:         number(o.GetEnforcingSuccessRate()),
		SplitExternalLocalOriginErrs: o.GetSplitExternalLocalOriginErrors(),
	}
}

func number(v *wrapperspb.UInt32Value) *uint32 {
	if v == nil {
		return nil
	}
	n := v.GetValue()
	return &n
}

func duration(v *durationpb.Duration) *time.Duration {
	if v == nil {
		return nil
	}
	d := v.AsDuration()
	return &d
}

func seconds(v *wrapperspb.UInt32Value) *time.Duration {
	if v == nil {
		return nil
	}
	d := time.Duration(v.GetValue()) * time.Second
	return &d
}

package check

import (
	"testing"

	"twohop/internal/observe"
	"twohop/internal/subject"
)

// Facts are paired by name: what a check says of one gateway pod without traffic
// and its control of another has to have one name.
func TestExtraGatewaysShareAName(t *testing.T) {
	who := func(pod string) string {
		return (&T{}).Who(&Proxy{Pod: observe.Pod{Role: subject.ExtraGateway(pod), Name: pod}})
	}
	if one, other := who("list-1"), who("rest-2"); one != other {
		t.Errorf("they are called %q and %q", one, other)
	}
	if gateway := (&T{}).Who(&Proxy{Pod: observe.Pod{Role: subject.Gateway}}); gateway == who("list-1") {
		t.Errorf("the subject's own gateway is called %q too", gateway)
	}
}

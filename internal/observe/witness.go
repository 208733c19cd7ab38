package observe

// Witnessed is what three logs hold about one token: raw lines, in order.
type Witnessed struct{ Sidecar, Gateway, Partner [][]byte }

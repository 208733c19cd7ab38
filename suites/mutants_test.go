package suites_test

func (r *runner) registerMutants() {}

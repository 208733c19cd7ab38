// Package mutation alters a recording of a whole run and replays the claims over it.
// Each alteration is a mutant, and the claim that read what was altered must not come
// out as before. So it shows for every fact, without a cluster, that the fact rests on
// what was observed.
//
// What is altered are the fields of the observations and of the log lines: a value is
// replaced, and a field, a line or an element of a list is dropped or doubled. On top of
// that come faults of whole witnesses: an answer that is empty, cut off, another proxy's
// or the other trial's; log lines that are lost, doubled, held back or added.
//
// # Which fields are read
//
// Find learns by altering which fields the facts read. A declaration could be wrong or
// out of date. Find alters many fields at once: if no fact, cause or error moves, none of
// them is read; otherwise it halves the set, down to single fields. So "read" means that
// an alteration shows. Find also looks for alterations of several fields that make a fact
// fail where no single one does (Proof). The result (Reads) is kept beside the recording,
// since finding it takes minutes.
//
// The test then alters the fields that are read, one at a time, and after that all other
// fields of a claim at once: if anything moves, the reads are out of date.
//
// # What counts
//
// A case is killed if its claim comes out otherwise. Three classes of cases need not be:
// those that mean the same, such as dropping a field that had its default value; those
// that move only facts which have to fail in their trial, and still do (the trial's cause
// states what is true there); and those that an Exemption excuses, with a reason.
//
// Each fact that holds has to fail in a case that turns its claim, or needs an Exemption
// too. A fact that does not hold, in the trial that has to fail, shows by itself that it
// can.
//
// # What is left out
//
// Of fields with the same path but for positions in lists, in one document or in the log
// lines of one stage, Find examines two; in a claim of more than 10,000 fields it
// examines one, whatever the stage. The rest stay unexamined, neither read nor unread. In
// documents of more than 3,000 fields, which one fact compares as a whole, only the first
// three parts of the path count. Of the fields that move the same facts, one is altered. A
// field without which a parser fails is altered in one claim, since the parser is the
// same in all. The score says how many fields are left out by that.
//
// In claims whose replay takes long (more than 10,000 fields or 100 requests) one field
// is altered for each sort of document and stage, and one for each fact that none of
// these moves, with at most six values; one document of a sort and stage has the faults
// of a whole answer. Where only the check reads what a mutant alters, the control is
// replayed only if the check alone does not show it.
//
// What is derived for people (evidence from logs, tables, scripts) is not looked at here:
// verify-run works it out anew and compares it. The package knows no cluster, and of a
// claim only its facts.
package mutation

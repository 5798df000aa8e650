-- A node of a Citus formation may have been told of a place with a newer epoch than this monitor remembers: by one whose data were lost since. What this monitor says of the
-- group is above that from then on, in the incarnation of the other as well.

alter table autoctl.grp
  add column served_incarnation bigint not null default 0;

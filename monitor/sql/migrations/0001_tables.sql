-- The monitor's memory. What Decide owns and only Decide reads is jsonb as package fsm writes it; what SQL looks at is a column.

create table autoctl.monitor (
  one         boolean primary key default true check (one),
  incarnation bigint not null default 1,
  -- decisions of groups that no longer exist: with those of the groups, the number that the incarnation file proves current
  retired     bigint not null default 0,
  software    text not null default ''
);
insert into autoctl.monitor default values;

create table autoctl.settings (
  one      boolean primary key default true check (one),
  settings jsonb not null
);

create table autoctl.formation (
  name        text primary key check (name <> '' and length(name) <= 63),
  kind        text not null check (kind in ('pgsql', 'citus')),
  database    text not null check (database <> ''),
  number_sync integer not null default 0 check (number_sync between 0 and 100),
  paused      boolean not null default false,
  created     timestamptz not null default now()
);

create table autoctl.grp (
  formation   text not null references autoctl.formation,
  number      integer not null check (number >= 0),
  system_id   numeric not null default 0,
  incarnation bigint not null,
  epoch       bigint not null default 0,
  seq         bigint not null default 0,
  number_sync integer not null default 0,
  unproven    boolean not null default false,
  record      jsonb not null default '[]',
  orders      jsonb not null default '[]',
  election    jsonb,
  unplanned   jsonb,
  -- the run of the monitor whose clock the instants in election, unplanned and node.hold_until belong to
  life        text not null default '',
  -- counts committed decisions
  decisions   bigint not null default 0,
  primary key (formation, number)
);

create sequence autoctl.node_id;

create table autoctl.node (
  id             bigint primary key,
  formation      text not null,
  grp            integer not null,
  name           text not null check (name <> '' and length(name) <= 63),
  host           text not null check (host <> ''),
  port           integer not null check (port between 1 and 65535),
  token          text not null check (token ~ '^[0-9a-f]{8}$'),
  priority       integer not null check (priority between 0 and 100),
  quorum         boolean not null,
  has_data       boolean not null default false,
  maintenance    boolean not null default false,
  dropping       boolean not null default false,
  forced         boolean not null default false,
  leaving        bigint not null default 0,
  min_generation bigint not null default 0,
  returns        integer not null default 0,
  hold_until     bigint not null default 0,
  -- goal is what was decided; told is what the node may hear, copied from goal once the decision is proved durable
  goal           jsonb,
  told           jsonb,
  registered     timestamptz not null default now(),
  constraint node_name unique (formation, name),
  constraint node_address unique (host, port),
  foreign key (formation, grp) references autoctl.grp
);
create index on autoctl.node (formation, grp);

-- Heartbeats are not worth a disk write: after a crash of this server they are empty and come again.
create unlogged table autoctl.report (
  node     bigint primary key,
  report   jsonb not null,
  -- the report without what changes all the time
  material jsonb not null,
  beats    bigint not null default 1,
  received timestamptz not null
) with (fillfactor = 50);

create unlogged table autoctl.probe (
  node    bigint primary key,
  -- the last success, on the clock of the run in autoctl.pulse; -1 for none
  probed  bigint not null,
  health  text not null check (health in ('good', 'bad', 'unknown'))
) with (fillfactor = 50);

-- A sign of life of the decision loop, which ties its clock to ours.
create unlogged table autoctl.pulse (
  one     boolean primary key default true check (one),
  life    text not null,
  instant bigint not null,
  since   bigint not null,
  at      timestamptz not null
) with (fillfactor = 50);

-- The run of the server that the monitor has opened to clients, after it compared its memory with the incarnation file.
create unlogged table autoctl.opened (
  one     boolean primary key default true check (one),
  started timestamptz not null
);

create table autoctl.event (
  id        bigint generated always as identity primary key,
  at        timestamptz not null default clock_timestamp(),
  formation text not null,
  grp       integer not null,
  node      bigint not null default 0,
  name      text not null default '',
  kind      text not null,
  rule      text not null default '',
  reason    text not null default '',
  reported  text not null default '',
  assigned  text not null default '',
  stamp     jsonb not null default '{"incarnation": 0, "epoch": 0, "seq": 0}'
);
create index on autoctl.event (at);

create table autoctl.command (
  id        bigint generated always as identity primary key,
  at        timestamptz not null default clock_timestamp(),
  formation text not null,
  grp       integer not null,
  command   jsonb not null,
  consumed  boolean not null default false,
  answer    jsonb,
  answered  timestamptz
);
create index on autoctl.command (formation, grp) where not consumed;

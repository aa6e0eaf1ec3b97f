"""A settlement day in plain Python: lists, dictionaries, whole numbers, brute force. Slow on purpose.

It knows nothing of the compiled code: queues are sorted lists that are looked through from the start,
and the greatest set for offsetting is found by trying every one.
"""

import itertools
import math
from collections import deque


class Day:
    """Run with `Day(...).run()`; afterwards the attributes say what happened."""

    def __init__(self, payments, banks, rules, actions):
        columns = (
            payments.time_s,
            payments.sender,
            payments.receiver,
            payments.amount_minor,
            payments.priority,
        )
        self.payments = list(zip(*(column.tolist() for column in columns), strict=True))
        self.num_banks = payments.num_banks
        self.rules = rules
        self.actions = sorted(
            (action for action in actions if action.time_s <= rules.close_s), key=lambda action: action.time_s
        )
        self.balance = banks.opening_minor.tolist()
        self.incoming = [0] * self.num_banks
        self.cap, self.reserve = banks.cap_minor.tolist(), banks.reserve_minor.tolist()
        self.given = list(self.balance)
        self.used, self.overdraft = [0] * self.num_banks, [0] * self.num_banks
        self.down = [0] * self.num_banks
        self.queue = [[] for _ in range(self.num_banks)]
        self.held = [[] for _ in range(self.num_banks)]
        self.sent, self.limits = {}, {}
        self.settle_s, self.how = [math.nan] * len(self.payments), [0] * len(self.payments)
        self.batches, self.samples = [], []
        self.line = deque()
        self.start_interval()

    def run(self):
        rules = self.rules
        events = [(action.time_s, 0, index) for index, action in enumerate(self.actions)]
        events += [(payment[0], 1, index) for index, payment in enumerate(self.payments)]
        if rules.cycle_s:
            events += [(time, 2, 0) for time in [rules.open_s, *self.grid(rules.cycle_s)]]
        if rules.offsetting != "none":
            events += [(time, 3, 0) for time in self.grid(rules.offset_every_s)]
        if rules.sample_s is not None:
            events += [(time, 4, 0) for time in self.grid(rules.sample_s)]
        for self.now, kind, index in sorted(events):
            (self.act, self.arrive, self.cycle, self.offset, self.sample)[kind](index)
            self.count_the_money()
        return self

    def grid(self, step):
        """Return open + k step, k >= 1, before the close, and the close."""
        times, k = [], 1
        while self.rules.open_s + step * k < self.rules.close_s - 1e-9:
            times.append(self.rules.open_s + step * k)
            k += 1
        return [*times, self.rules.close_s]

    # Events

    def arrive(self, p):
        bank = self.payments[p][1]
        if self.down[bank]:
            self.held[bank].append(p)
            return
        self.submit(p)
        if not self.rules.cycle_s:
            self.serve(bank)
            self.serve_line()

    def submit(self, p):
        bank = self.payments[p][1]
        self.num_submitted[bank] += 1
        self.queue[bank].append(p)
        self.queue[bank].sort(key=lambda q: (self.payments[q][4] if self.rules.order == "priority" else 0, q))

    def cycle(self, _):
        for bank in range(self.num_banks):
            if not self.down[bank]:
                self.serve(bank)
        self.balance = [have + new for have, new in zip(self.balance, self.incoming, strict=True)]
        self.incoming = [0] * self.num_banks

    def offset(self, _):
        if self.rules.offsetting in {"bilateral", "both"}:
            self.offset_bilateral()
        if self.rules.offsetting in {"multilateral", "both"}:
            self.offset_multilateral()
        self.join(range(self.num_banks))

    def act(self, index):
        action = self.actions[index]
        pairs = sorted({(payment[1], payment[2]) for payment in self.payments})
        if action.kind in {"limit", "cut"}:
            for pair in pairs:
                if action.bank in {-1, pair[0]} and action.other in {-1, pair[1]}:
                    if action.kind == "limit":
                        self.limits[pair] = action.amount_minor
                    else:
                        out = max(0, self.net(pair)) + action.amount_minor
                        self.limits[pair] = min(self.limits.get(pair, math.inf), out)
                    self.join([pair[0]])
            return
        for bank in range(self.num_banks) if action.bank == -1 else [action.bank]:
            self.change(bank, action.kind, action.amount_minor)
            self.join([bank])

    def change(self, bank, kind, amount):
        if kind == "down":
            self.down[bank] += 1
        elif kind == "up":
            self.down[bank] -= 1
            if not self.down[bank]:
                for p in self.held[bank]:
                    self.submit(p)
                self.held[bank] = []
        elif kind == "reserve":
            self.reserve[bank] = amount
        elif kind == "cap":
            self.cap[bank] = amount
        elif kind == "inject":
            self.balance[bank] += amount
            self.given[bank] += amount

    def start_interval(self):
        self.flows = [[0] * self.num_banks for _ in range(4)]
        self.num_submitted = [0] * self.num_banks
        self.delay = [0.0] * self.num_banks

    def sample(self, _):
        value = [sum(self.payments[p][3] for p in queue) for queue in self.queue]
        held = [sum(self.payments[p][3] for p in queue) for queue in self.held]
        state = [[len(queue) for queue in self.queue], value, [len(queue) for queue in self.held], held]
        # While a bank is down, its queue from before stays in the system.
        self.samples.append([*self.flows, self.num_submitted, *state, list(self.balance), self.delay])
        self.start_interval()

    # Settling

    def room(self, bank):
        return self.balance[bank] + self.cap[bank] - self.reserve[bank]

    def net(self, pair):
        return self.sent.get(pair, 0) - self.sent.get(pair[::-1], 0)

    def may_go(self, p):
        _, sender, receiver, amount, _ = self.payments[p]
        pair = (sender, receiver)
        return self.net(pair) + amount <= self.limits.get(pair, math.inf)

    def serve(self, bank):
        for p in list(self.queue[bank]):
            amount = self.payments[p][3]
            if not self.may_go(p):
                continue
            if amount <= self.room(bank):
                self.move([p], how=1)
                if not self.rules.cycle_s:
                    self.stand_in_line(self.payments[p][2])
            elif not self.rules.bypass:
                break

    def stand_in_line(self, bank):
        if self.queue[bank] and not self.down[bank] and bank not in self.line:
            self.line.append(bank)

    def serve_line(self):
        while self.line:
            self.serve(self.line.popleft())

    def join(self, banks):
        if not self.rules.cycle_s:
            for bank in banks:
                self.stand_in_line(bank)
            self.serve_line()

    def move(self, group, how):
        self.batches.append(set(group))
        for p in group:
            due_s, sender, receiver, amount, _ = self.payments[p]
            self.queue[sender].remove(p)
            self.balance[sender] -= amount
            (self.incoming if how == 1 and self.rules.cycle_s else self.balance)[receiver] += amount
            self.sent[sender, receiver] = self.sent.get((sender, receiver), 0) + amount
            self.settle_s[p], self.how[p] = self.now, how
            for field, bank, step in (
                (0, sender, amount),
                (1, receiver, amount),
                (2, sender, 1),
                (3, receiver, 1),
            ):
                self.flows[field][bank] += step
            self.delay[sender] += self.now - due_s
        for bank in {self.payments[p][1] for p in group}:
            assert self.room(bank) >= 0
            self.used[bank] = max(self.used[bank], self.given[bank] - self.balance[bank])
            self.overdraft[bank] = max(self.overdraft[bank], -self.balance[bank])
        self.count_the_money()

    def count_the_money(self):
        assert sum(self.balance) + sum(self.incoming) == sum(self.given)

    # Offsetting

    def candidates(self):
        found = []
        for bank in range(self.num_banks):
            asked, mine = {}, []
            for p in self.queue[bank] if not self.down[bank] else []:
                pair, amount = self.payments[p][1:3], self.payments[p][3]
                if self.net(pair) + asked.get(pair, 0) + amount <= self.limits.get(pair, math.inf):
                    asked[pair] = asked.get(pair, 0) + amount
                    mine.append(p)
            found.append(mine)
        return found

    def greatest(self, queues):
        """Return the longest beginnings of some queues that settle together; all of them are tried."""
        feasible = []
        for lengths in itertools.product(*(range(len(queue) + 1) for queue in queues)):
            group = [p for queue, length in zip(queues, lengths, strict=True) for p in queue[:length]]
            after = {bank: self.room(bank) for bank in range(self.num_banks)}
            for p in group:
                after[self.payments[p][1]] -= self.payments[p][3]
                after[self.payments[p][2]] += self.payments[p][3]
            if all(after[self.payments[p][1]] >= 0 for p in group):
                feasible.append(group)
        best = max(feasible, key=len)
        assert all(set(group) <= set(best) for group in feasible)
        return best

    def offset_multilateral(self):
        group = self.greatest(self.candidates())
        if group:
            self.move(group, how=3)

    def offset_bilateral(self):
        found = self.candidates()
        for one, other in itertools.combinations(range(self.num_banks), 2):
            there = [p for p in found[one] if self.payments[p][2] == other]
            back = [p for p in found[other] if self.payments[p][2] == one]
            if there and back:
                group = self.greatest([there, back])
                if set(group) & set(there) and set(group) & set(back):
                    self.move(group, how=2)

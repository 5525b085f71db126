//! Who is next: clients take turns, requests of one client in their order.

use std::collections::VecDeque;

use super::request::Request;

#[derive(Default)]
pub(super) struct FairQueue {
    /// Clients in the order of their turns, with their requests, at least one each.
    clients: VecDeque<(u64, VecDeque<Request>)>,
}

impl FairQueue {
    pub fn len(&self) -> usize {
        self.clients
            .iter()
            .map(|(_, requests)| requests.len())
            .sum()
    }

    pub fn push(&mut self, request: Request) {
        let client = request.client;
        match self.clients.iter_mut().find(|(known, _)| *known == client) {
            Some((_, requests)) => requests.push_back(request),
            None => self.clients.push_back((client, VecDeque::from([request]))),
        }
    }

    /// The request that [`pop`](Self::pop) would give.
    pub fn next(&self) -> Option<&Request> {
        self.clients.front()?.1.front()
    }

    pub fn pop(&mut self) -> Option<Request> {
        let (client, mut requests) = self.clients.pop_front()?;
        let request = requests.pop_front();
        if !requests.is_empty() {
            self.clients.push_back((client, requests));
        }
        request
    }

    /// Forgets requests that nobody waits for.
    pub fn drop_unwanted(&mut self) {
        for (_, requests) in &mut self.clients {
            if requests.iter().all(Request::is_wanted) {
                continue;
            }
            let (wanted, unwanted) = requests
                .drain(..)
                .partition::<VecDeque<_>, _>(Request::is_wanted);
            *requests = wanted;
            unwanted.into_iter().for_each(Request::reject);
        }
        self.clients.retain(|(_, requests)| !requests.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(client: u64, number: u32) -> Request {
        Request {
            client,
            ..Request::new(vec![number], 1, |_| {})
        }
    }

    #[test]
    fn clients_take_turns() {
        let mut queue = FairQueue::default();
        for (client, number) in [(1, 10), (1, 11), (1, 12), (2, 20), (3, 30), (2, 21)] {
            queue.push(request(client, number));
        }
        let order: Vec<u32> = std::iter::from_fn(|| queue.pop())
            .map(|r| r.prompt[0])
            .collect();
        assert_eq!(order, [10, 20, 30, 11, 21, 12]);
    }

    #[test]
    fn nobody_is_served_who_has_left() {
        let mut queue = FairQueue::default();
        for number in 0..4 {
            let request = request(number.into(), number);
            request
                .cancelled
                .store(number % 2 == 0, std::sync::atomic::Ordering::Relaxed);
            queue.push(request);
        }
        queue.drop_unwanted();
        assert_eq!(queue.len(), 2);
        assert_eq!(queue.pop().map(|request| request.prompt[0]), Some(1));
    }
}
